//! The options the server acts on, with their types.

/// Options as they are in effect, read once from the text of the configuration whenever it
/// changes.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[chttpd] x_forwarded_host`: the header naming the host the client used.
    pub x_forwarded_host: String,
    /// `[chttpd] x_forwarded_proto`.
    pub x_forwarded_proto: String,
    /// `[chttpd] x_forwarded_ssl`.
    pub x_forwarded_ssl: String,
}

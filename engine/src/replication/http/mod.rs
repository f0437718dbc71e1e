//! The HTTP client.

use super::context::HttpSettings;

/// Connections to other servers, shared by all replications.
#[derive(Debug)]
pub(super) struct Clients {
    #[expect(dead_code, reason = "the client comes next")]
    settings: HttpSettings,
}

impl Clients {
    pub(super) fn new(settings: HttpSettings) -> Self {
        Clients { settings }
    }
}

//! The options about connections: how many, and over TLS.

use std::path::PathBuf;

use super::layers::{ConfigError, Layers};
use super::settings::Options;

/// Connections, and what they may carry.
#[derive(Clone, Debug, Default)]
pub struct NetworkSettings {
    /// `[chttpd] max_connections`, or `{max, N}` of CouchDB's `server_options`: connections at a time;
    /// `None` leaves it to what the process may open.
    pub max_connections: Option<usize>,
    /// `[couchdb] max_bulk_docs_count`: documents in one `_bulk_docs`.
    pub max_bulk_docs: u64,
    /// `[couchdb] max_bulk_get_count`: documents in one `_bulk_get`.
    pub max_bulk_get: u64,
    /// `[ssl]`, when it is switched on.
    pub tls: Option<TlsSettings>,
    /// `[prometheus] bind_address` and `port`, when `additional_port` is switched on.
    pub metrics: Option<(String, u16)>,
}

/// `[ssl]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `port`.
    pub port: u16,
    /// `cert_file`: the certificate and those that lead to its authority, in PEM.
    pub cert_file: PathBuf,
    /// `key_file`: the private key, in PEM, not encrypted.
    pub key_file: PathBuf,
    /// `cacert_file`: whose certificates of clients are good.
    pub cacert_file: Option<PathBuf>,
    /// `verify_ssl_certificates`: whether clients are asked for one.
    pub ask_for_certificates: bool,
    /// `fail_if_no_peer_cert`: whether they must have one.
    pub require_certificates: bool,
    /// `tls_versions`: whether the older of the two, 1.2, is spoken.
    pub tls12: bool,
    /// `tls_versions`: whether 1.3 is spoken.
    pub tls13: bool,
}

impl NetworkSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let http = Options::http(layers);
        let couchdb = Options { layers, sections: &["couchdb"] };
        let max_connections = match http.text("max_connections") {
            Some(_) => Some(http.number("max_connections")?),
            None => http.text("server_options").and_then(|options| erlang_max(&options)),
        };
        if max_connections == Some(0) {
            return Err(http.wrong("max_connections", "0", "nobody could connect"));
        }
        Ok(Self {
            max_connections,
            max_bulk_docs: couchdb.size("max_bulk_docs_count")?,
            max_bulk_get: couchdb.size("max_bulk_get_count")?,
            tls: TlsSettings::read(layers)?,
            metrics: metrics_address(layers)?,
        })
    }
}

fn metrics_address(layers: &Layers) -> Result<Option<(String, u16)>, ConfigError> {
    let options = Options { layers, sections: &["prometheus"] };
    let address = (options.text("bind_address").unwrap_or_default(), options.number("port")?);
    Ok(options.flag("additional_port")?.then_some(address))
}

/// The number in `[{backlog, 128}, {max, 16384}]`.
fn erlang_max(options: &str) -> Option<usize> {
    let entries = options.split('{').filter_map(|entry| entry.split('}').next());
    entries.filter_map(|entry| entry.split_once(',')).find_map(|(name, value)| {
        (name.trim() == "max").then(|| value.trim().parse().ok()).flatten()
    })
}

impl TlsSettings {
    fn read(layers: &Layers) -> Result<Option<Self>, ConfigError> {
        let ssl = Options { layers, sections: &["ssl"] };
        let (enabled, port) = (ssl.flag("enable")?, ssl.number("port")?);
        let file = |key: &str| ssl.text(key).map(PathBuf::from);
        let needed = |key: &str| {
            file(key).ok_or_else(|| ssl.wrong(key, "", "[ssl] enable=true needs this file's path"))
        };
        let versions = ssl.text("tls_versions");
        let speaks = |name: &str| versions.as_ref().is_none_or(|versions| versions.contains(name));
        let (cert_file, key_file, cacert_file) =
            (file("cert_file"), file("key_file"), file("cacert_file"));
        let password = ssl.text("password");
        let settings = Self {
            port,
            cert_file: cert_file.unwrap_or_default(),
            key_file: key_file.unwrap_or_default(),
            ask_for_certificates: ssl.flag("verify_ssl_certificates")?,
            require_certificates: ssl.flag("fail_if_no_peer_cert")?,
            cacert_file,
            tls12: speaks("tlsv1.2"),
            tls13: speaks("tlsv1.3"),
        };
        if !enabled {
            return Ok(None);
        }
        if password.is_some() {
            let advice = "encrypted keys can't be read; decrypt it once with `openssl pkey -in KEY -out NEW`";
            return Err(ssl.wrong("password", "", advice));
        }
        if !settings.tls12 && !settings.tls13 {
            let given = versions.unwrap_or_default();
            return Err(ssl.wrong(
                "tls_versions",
                &given,
                "neither tlsv1.2 nor tlsv1.3 is among them",
            ));
        }
        if settings.ask_for_certificates {
            needed("cacert_file")?;
        }
        Ok(Some(Self {
            cert_file: needed("cert_file")?,
            key_file: needed("key_file")?,
            ..settings
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<NetworkSettings, ConfigError> {
        NetworkSettings::read(&Layers::with(text))
    }

    #[test]
    fn connections() {
        let max = |text: &str| read(text).unwrap().max_connections;
        assert_eq!(max(""), None);
        assert_eq!(max("[chttpd]\nmax_connections = 7\n"), Some(7));
        assert_eq!(max("[chttpd]\nserver_options = [{backlog, 128}, {max, 16384}]\n"), Some(16384));
        assert!(read("[chttpd]\nmax_connections = 0\n").is_err());
    }

    #[test]
    fn tls_is_off_until_it_is_switched_on_and_then_complete() {
        const FILES: &str = "cert_file = c\nkey_file = k\n";
        assert!(read("[ssl]\ncert_file = c\npassword = x\n").unwrap().tls.is_none());
        let tls = read(&format!("[ssl]\nenable = true\n{FILES}")).unwrap().tls.unwrap();
        assert!(tls.tls12 && tls.tls13 && tls.port == 6984);
        let only = "tls_versions = ['tlsv1.3', 'tlsv1.1']\n";
        let tls = read(&format!("[ssl]\nenable = true\n{FILES}{only}")).unwrap().tls.unwrap();
        assert!(!tls.tls12 && tls.tls13);
        for wrong in [
            "enable = true\ncert_file = c\n".to_owned(),
            format!("enable = true\n{FILES}password = x\n"),
            format!("enable = true\n{FILES}tls_versions = [tlsv1]\n"),
            format!("enable = true\n{FILES}verify_ssl_certificates = true\n"),
            "enable = maybe\n".to_owned(),
        ] {
            assert!(read(&format!("[ssl]\n{wrong}")).is_err(), "{wrong}");
        }
    }
}

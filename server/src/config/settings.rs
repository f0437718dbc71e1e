//! The options the server acts on, with their types.

use http::HeaderName;
use settee_engine::find::FindSettings;
use settee_engine::view::{OnOverflow, ReduceLimits, ViewSettings};

use super::accounts::AccountSettings;
use super::browser::BrowserSettings;
use super::cors::CorsSettings;
use super::layers::{ConfigError, Layers};
use super::network::NetworkSettings;
use super::proxy::Proxies;
use super::replicator::ReplicatorSettings;
use super::vhosts::Vhosts;

/// Options as they are in effect: read from the text of the configuration whenever it changes.
///
/// Sizes are in bytes; `u64::MAX` stands for `infinity`.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `[chttpd] bind_address`.
    pub bind_address: String,
    /// `[chttpd] port`; 0 takes any free one.
    pub port: u16,
    /// `[couchdb] uuid`: the server's identity, shown in `/`.
    pub uuid: Option<String>,
    /// `[couchdb] single_node`: whether the system databases are made at the start.
    pub single_node: bool,
    /// `[couchdb] max_dbs_open`: database files held open at a time.
    pub max_dbs_open: usize,
    /// `[couchdb] max_document_size`.
    pub max_document_size: u64,
    /// `[couchdb] max_attachment_size`.
    pub max_attachment_size: u64,
    /// `[couchdb] max_document_id_length`.
    pub max_document_id_length: u64,
    /// Whether `[couchdb] default_security` is `admin_only`; otherwise new databases are public.
    pub admin_only_by_default: bool,
    /// `[couchdb] maintenance_mode`, unless it is `false`: what `/_up` answers.
    pub maintenance_mode: Option<String>,
    /// `[couchdb] users_db_security_editable`.
    pub users_db_security_editable: bool,
    /// `[couchdb] os_process_timeout`: how long a function of a design document may take, in milliseconds.
    pub function_timeout_ms: u64,
    /// `[query_server_config] memory_limit`: what one interpreter may hold.
    pub function_memory_bytes: usize,
    /// `[query_server_config] project_documents`: parses only what map functions can look at.
    pub project_documents: bool,
    /// `[query_server_config] simple_maps`: runs simple map functions without the interpreter.
    pub simple_maps: bool,
    /// `[chttpd] scrub_json_request`: functions are not told what clients identify themselves with.
    pub scrub_json_request: bool,
    /// `[chttpd] secure_rewrites`: rules do not lead out of their database.
    pub secure_rewrites: bool,
    /// `[chttpd] rewrite_limit`: how often one request may be rewritten.
    pub rewrite_limit: u32,
    /// `[chttpd] require_valid_user`.
    pub require_valid_user: bool,
    /// `[chttpd] require_valid_user_except_for_up`.
    pub require_valid_user_except_for_up: bool,
    /// `[chttpd] admin_only_all_dbs`.
    pub admin_only_all_dbs: bool,
    /// `[chttpd] max_db_number_for_dbs_info_req`.
    pub max_dbs_info: usize,
    /// `[chttpd] buffer_response`.
    pub buffer_response: bool,
    /// `[chttpd] allow_jsonp`: `?callback=f` makes an answer a script that calls `f` with it.
    pub allow_jsonp: bool,
    /// `[chttpd] peer_header`: the header in which a proxy names the client it speaks for.
    pub peer_header: Option<HeaderName>,
    /// `[chttpd] max_uri_length`.
    pub max_uri_bytes: usize,
    /// `[chttpd] max_http_request_size`.
    pub max_request_bytes: u64,
    /// `[chttpd] changes_timeout`, in milliseconds.
    pub changes_timeout_ms: u64,
    /// `[chttpd] decode_plus_to_space`.
    pub decode_plus_to_space: bool,
    /// `[chttpd] prefer_minimal`: the headers that `Prefer: return=minimal` leaves.
    pub prefer_minimal: Vec<HeaderName>,
    /// `[chttpd] server_header_versions`.
    pub server_header_versions: bool,
    /// `[chttpd] x_forwarded_host`: the header naming the host the client used.
    pub x_forwarded_host: HeaderName,
    /// `[chttpd] x_forwarded_proto`.
    pub x_forwarded_proto: HeaderName,
    /// `[chttpd] x_forwarded_ssl`.
    pub x_forwarded_ssl: HeaderName,
    /// `[chttpd] WWW-Authenticate`: the challenge sent with 401.
    pub www_authenticate: Option<String>,
    /// `[chttpd_auth] secret`: what cookies are signed with.
    pub cookie_secret: Option<String>,
    /// `[chttpd_auth] timeout`: a cookie's life, in seconds.
    pub cookie_timeout_s: u64,
    /// `[chttpd_auth] allow_persistent_cookies`.
    pub persistent_cookies: bool,
    /// `[chttpd_auth] cookie_domain`.
    pub cookie_domain: Option<String>,
    /// `[chttpd_auth] same_site`.
    pub same_site: Option<String>,
    /// `[chttpd_auth] authentication_redirect`: the path that people are sent to for logging in.
    pub authentication_redirect: String,
    /// `[chttpd_auth] authentication_db`, if given.
    pub authentication_db: Option<String>,
    /// Who may come in how.
    pub accounts: AccountSettings,
    /// `[chttpd_auth_lockout] mode`.
    pub lockout_mode: LockoutMode,
    /// `[chttpd_auth_lockout] threshold`: wrong passwords after which an account is locked for
    /// the address they came from.
    pub lockout_threshold: u32,
    /// `[chttpd_auth_lockout] max_lifetime`, in milliseconds from the first wrong password.
    pub lockout_lifetime_ms: u64,
    /// `[chttpd_auth_lockout] max_objects`: addresses and users that are remembered.
    pub lockout_max_objects: usize,
    /// `[attachments] compression_level`, 0 to 9; 0 is off.
    pub compression_level: u32,
    /// `[attachments] compressible_types`.
    pub compressible_types: String,
    /// Whether `[couchdb] file_compression` is another than `none`.
    pub file_compression: bool,
    /// `[smoosh]` and its channels: when databases are compacted by themselves.
    pub compaction_channels: Vec<settee_engine::compaction::Channel>,
    /// `[csp] utils_header_value`, unless `[csp] utils_enable=false`.
    pub utils_csp: Option<String>,
    /// `[csp] attachments_header_value`, unless `[csp] attachments_enable=false`.
    pub attachments_csp: Option<String>,
    /// `[csp] showlist_header_value`, unless `[csp] showlist_enable=false`.
    pub showlist_csp: Option<String>,
    /// `[purge] max_revisions_number`.
    pub max_purged_revisions: u64,
    /// `[query_server_config] query_limit`: most rows a request for a view may ask for.
    pub query_limit: Option<u64>,
    /// `[query] serve_old`: whether readers of a view whose definition was changed are answered from the old
    /// index until the new one is built.
    pub serve_old_views: bool,
    /// How views are indexed.
    pub views: ViewSettings,
    /// `[mango]`: what holds for queries that do not say otherwise.
    pub find: FindSettings,
    /// `[global_changes]`: what `_db_updates` is told of.
    pub global_changes: GlobalChangesSettings,
    /// `[cluster] q`: reported for databases made without one.
    pub default_q: u32,
    /// `[uuids] algorithm`.
    pub uuid_algorithm: UuidAlgorithm,
    /// `[uuids] format`, for version 4 and 7.
    pub uuid_format: UuidFormat,
    /// `[uuids] utc_id_suffix`.
    pub utc_id_suffix: String,
    /// `[uuids] max_count`.
    pub max_uuids: usize,
    /// `[cors]`.
    pub cors: CorsSettings,
    /// `[vhosts]`.
    pub vhosts: Vhosts,
    /// What browsers are told about this server's pages.
    pub browser: BrowserSettings,
    /// Connections, and limits of what they carry.
    pub network: NetworkSettings,
    /// `[replicator]`.
    pub replicator: ReplicatorSettings,
    /// `[proxy]`: servers behind this one.
    pub proxies: Proxies,
}

/// Options of `[global_changes]`.
#[derive(Clone, Copy, Debug)]
pub struct GlobalChangesSettings {
    /// `update_db`: whether events are written down at all.
    pub enabled: bool,
    /// `max_write_delay`, in milliseconds: how long events are gathered before they are written.
    pub write_delay_ms: u64,
}

impl GlobalChangesSettings {
    fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let options = Options { layers, sections: &["global_changes"] };
        Ok(Self {
            enabled: options.flag("update_db")?,
            write_delay_ms: options.number("max_write_delay")?,
        })
    }
}

/// What happens to those who guess passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockoutMode {
    /// They are refused for a while.
    Enforce,
    /// They are logged.
    Warn,
    /// Nothing.
    Off,
}

/// How ids are made, see `[uuids] algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidAlgorithm {
    /// A random beginning and a counter: new ids sort behind each other.
    Sequential,
    /// 128 random bits.
    Random,
    /// Microseconds, then random bits.
    UtcRandom,
    /// Microseconds, then a fixed suffix.
    UtcId,
    /// RFC 9562 version 4.
    V4,
    /// RFC 9562 version 7.
    V7,
}

/// How ids of version 4 and 7 are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UuidFormat {
    /// 32 hexadecimal digits.
    Base16,
    /// 25 digits of base 36.
    Base36,
    /// 36 characters with dashes.
    Rfc9562,
}

impl Default for Settings {
    /// What the built-in configuration says.
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a test reads the built-in text")]
        Self::read(&Layers::built_in()).expect("the built-in configuration is readable")
    }
}

impl Settings {
    pub(super) fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let (couchdb, http) = (Options { layers, sections: &["couchdb"] }, Options::http(layers));
        let auth = Options { layers, sections: &["chttpd_auth", "couch_httpd_auth"] };
        let lockout = Options { layers, sections: &["chttpd_auth_lockout"] };
        let uuids = Options { layers, sections: &["uuids"] };
        Ok(Self {
            bind_address: http.text("bind_address").unwrap_or_default(),
            port: http.number("port")?,
            uuid: couchdb.text("uuid"),
            single_node: couchdb.flag("single_node")?,
            max_dbs_open: couchdb.number("max_dbs_open")?,
            max_document_size: couchdb.size("max_document_size")?,
            max_attachment_size: couchdb.size("max_attachment_size")?,
            max_document_id_length: couchdb.size("max_document_id_length")?,
            admin_only_by_default: couchdb.text("default_security").as_deref()
                == Some("admin_only"),
            maintenance_mode: couchdb.text("maintenance_mode").filter(|mode| mode != "false"),
            users_db_security_editable: couchdb.flag("users_db_security_editable")?,
            function_timeout_ms: couchdb.number("os_process_timeout")?,
            function_memory_bytes: Options { layers, sections: &["query_server_config"] }
                .number("memory_limit")?,
            project_documents: Options { layers, sections: &["query_server_config"] }
                .flag("project_documents")?,
            simple_maps: Options { layers, sections: &["query_server_config"] }
                .flag("simple_maps")?,
            scrub_json_request: http.flag("scrub_json_request")?,
            secure_rewrites: http.flag("secure_rewrites")?,
            rewrite_limit: http.number("rewrite_limit")?,
            require_valid_user: http.flag("require_valid_user")?,
            require_valid_user_except_for_up: http.flag("require_valid_user_except_for_up")?,
            admin_only_all_dbs: http.flag("admin_only_all_dbs")?,
            max_dbs_info: http.number("max_db_number_for_dbs_info_req")?,
            buffer_response: http.flag("buffer_response")?,
            allow_jsonp: http.flag("allow_jsonp")?,
            peer_header: http.header_names("peer_header")?.pop(),
            max_uri_bytes: http.number("max_uri_length")?,
            max_request_bytes: http.size("max_http_request_size")?,
            changes_timeout_ms: http.number("changes_timeout")?,
            decode_plus_to_space: http.flag("decode_plus_to_space")?,
            prefer_minimal: http.header_names("prefer_minimal")?,
            server_header_versions: http.flag("server_header_versions")?,
            x_forwarded_host: http.header_name("x_forwarded_host")?,
            x_forwarded_proto: http.header_name("x_forwarded_proto")?,
            x_forwarded_ssl: http.header_name("x_forwarded_ssl")?,
            www_authenticate: http.text("WWW-Authenticate"),
            cookie_secret: auth.text("secret"),
            cookie_timeout_s: auth.number("timeout")?,
            persistent_cookies: auth.flag("allow_persistent_cookies")?,
            cookie_domain: auth.text("cookie_domain"),
            same_site: auth.text("same_site"),
            authentication_redirect: auth.text("authentication_redirect").unwrap_or_default(),
            authentication_db: auth.text("authentication_db"),
            accounts: AccountSettings::read(layers)?,
            lockout_mode: lockout.lockout_mode()?,
            lockout_threshold: lockout.number("threshold")?,
            lockout_lifetime_ms: lockout.number("max_lifetime")?,
            lockout_max_objects: lockout.number("max_objects")?,
            compression_level: Options { layers, sections: &["attachments"] }
                .number("compression_level")?,
            compressible_types: Options { layers, sections: &["attachments"] }
                .text("compressible_types")
                .unwrap_or_default(),
            file_compression: couchdb.text("file_compression").as_deref() != Some("none"),
            compaction_channels: super::compaction::channels(layers)?,
            utils_csp: Options { layers, sections: &["csp"] }.csp("utils")?,
            attachments_csp: Options { layers, sections: &["csp"] }.csp("attachments")?,
            showlist_csp: Options { layers, sections: &["csp"] }.csp("showlist")?,
            max_purged_revisions: Options { layers, sections: &["purge"] }
                .size("max_revisions_number")?,
            query_limit: Some(
                Options { layers, sections: &["query_server_config"] }.size("query_limit")?,
            )
            .filter(|limit| *limit != u64::MAX),
            serve_old_views: Options { layers, sections: &["query"] }.flag("serve_old")?,
            views: views(layers)?,
            find: find(layers)?,
            global_changes: GlobalChangesSettings::read(layers)?,
            default_q: Options { layers, sections: &["cluster"] }.number("q")?,
            uuid_algorithm: uuids.uuid_algorithm()?,
            uuid_format: uuids.uuid_format()?,
            utc_id_suffix: uuids.text("utc_id_suffix").unwrap_or_default(),
            max_uuids: uuids.number("max_count")?,
            cors: CorsSettings::read(layers)?,
            vhosts: Vhosts::read(layers)?,
            browser: BrowserSettings::read(layers)?,
            network: NetworkSettings::read(layers)?,
            replicator: ReplicatorSettings::read(layers)?,
            proxies: Proxies::read(layers)?,
        })
    }
}

fn find(layers: &Layers) -> Result<FindSettings, ConfigError> {
    let mango = Options { layers, sections: &["mango"] };
    Ok(FindSettings {
        default_limit: mango.number("default_limit")?,
        index_scan_warning_threshold: mango.number("index_scan_warning_threshold")?,
    })
}

/// How views are indexed: `[query_server_config] reduce_limit…`, `[query]`, `[ken]`.
fn views(layers: &Layers) -> Result<ViewSettings, ConfigError> {
    let reduce = Options { layers, sections: &["query_server_config"] };
    let query = Options { layers, sections: &["query"] };
    let ken = Options { layers, sections: &["ken"] };
    let on_overflow = match reduce.find("reduce_limit") {
        Some("true") | None => OnOverflow::Fail,
        Some("log") => OnOverflow::Log,
        Some("false") => OnOverflow::Ignore,
        Some(other) => {
            return Err(reduce.wrong("reduce_limit", other, "none of true, false and log"));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(ViewSettings {
        build_threads: match query.number("build_threads")? {
            0 => cores,
            threads => threads,
        },
        build_memory_bytes: query.number("build_memory")?,
        concurrent_updates: ken.number("limit")?,
        concurrent_builds: query.number("concurrent_builds")?,
        reduce_limits: ReduceLimits {
            on_overflow,
            threshold_bytes: reduce.number("reduce_limit_threshold")?,
            ratio: reduce.number("reduce_limit_ratio")?,
        },
        background: ken.flag("enable")?,
    })
}

/// One section's options. Names of sections that the options had in CouchDB 2 follow the present
/// one, and count when the present one isn't given.
pub(super) struct Options<'l> {
    pub(super) layers: &'l Layers,
    pub(super) sections: &'l [&'l str],
}

impl<'l> Options<'l> {
    pub(super) fn http(layers: &'l Layers) -> Self {
        Self { layers, sections: &["chttpd", "httpd"] }
    }

    fn find(&self, key: &str) -> Option<&'l str> {
        // `[httpd] port` was the back door's.
        let moved = !matches!(key, "port" | "bind_address");
        let sections = if moved { self.sections } else { self.sections.get(..1)? };
        let given = sections.iter().find_map(|section| self.layers.given(section, key));
        given.or_else(|| sections.iter().find_map(|section| self.layers.get(section, key)))
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.find(key).map(str::to_owned)
    }

    pub(super) fn wrong(&self, key: &str, value: &str, expected: &'static str) -> ConfigError {
        ConfigError::value(self.sections.first().copied().unwrap_or_default(), key, value, expected)
    }

    /// A flag; absent is `false`.
    pub(super) fn flag(&self, key: &str) -> Result<bool, ConfigError> {
        match self.find(key) {
            Some("true") => Ok(true),
            Some("false") | None => Ok(false),
            Some(other) => Err(self.wrong(key, other, "neither true nor false")),
        }
    }

    pub(super) fn number<N: std::str::FromStr>(&self, key: &str) -> Result<N, ConfigError> {
        let text = self.find(key).unwrap_or_default();
        text.parse().map_err(|_| self.wrong(key, text, "not a number in range"))
    }

    /// A number of bytes or the like, or `infinity`.
    pub(super) fn size(&self, key: &str) -> Result<u64, ConfigError> {
        match self.find(key) {
            Some("infinity") | None => Ok(u64::MAX),
            Some(_) => self.number(key),
        }
    }

    pub(super) fn header_name(&self, key: &str) -> Result<HeaderName, ConfigError> {
        let name = self.find(key).unwrap_or_default();
        HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| self.wrong(key, name, "not the name of a header"))
    }

    /// A list separated by commas.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        items(self.find(key).unwrap_or_default())
    }

    fn header_names(&self, key: &str) -> Result<Vec<HeaderName>, ConfigError> {
        let list = self.find(key).unwrap_or_default();
        let names = list.split(',').map(str::trim).filter(|name| !name.is_empty());
        let parse = |name: &str| HeaderName::from_bytes(name.as_bytes());
        names
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(|_| self.wrong(key, list, "not a list of headers' names"))
    }

    /// The policy for one kind of answers.
    fn csp(&self, kind: &str) -> Result<Option<String>, ConfigError> {
        let enabled = self.flag(&format!("{kind}_enable"))?;
        Ok(self.text(&format!("{kind}_header_value")).filter(|_| enabled))
    }

    fn lockout_mode(&self) -> Result<LockoutMode, ConfigError> {
        match self.find("mode") {
            Some("enforce") | None => Ok(LockoutMode::Enforce),
            Some("warn") => Ok(LockoutMode::Warn),
            Some("off") => Ok(LockoutMode::Off),
            Some(other) => Err(self.wrong("mode", other, "none of enforce, warn and off")),
        }
    }

    fn uuid_algorithm(&self) -> Result<UuidAlgorithm, ConfigError> {
        match self.find("algorithm") {
            Some("sequential") | None => Ok(UuidAlgorithm::Sequential),
            Some("random") => Ok(UuidAlgorithm::Random),
            Some("utc_random") => Ok(UuidAlgorithm::UtcRandom),
            Some("utc_id") => Ok(UuidAlgorithm::UtcId),
            Some("uuid_v4") => Ok(UuidAlgorithm::V4),
            Some("uuid_v7") => Ok(UuidAlgorithm::V7),
            Some(other) => Err(self.wrong("algorithm", other, "not a known way of making ids")),
        }
    }

    fn uuid_format(&self) -> Result<UuidFormat, ConfigError> {
        match self.find("format") {
            Some("base_16") | None => Ok(UuidFormat::Base16),
            Some("base_36") => Ok(UuidFormat::Base36),
            Some("rfc9562") => Ok(UuidFormat::Rfc9562),
            Some(other) => Err(self.wrong("format", other, "not a known way of writing ids")),
        }
    }
}

/// The items of a list separated by commas.
pub(super) fn items(list: &str) -> Vec<String> {
    let items = list.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_text_is_readable() {
        let settings = Settings::default();
        assert_eq!(settings.max_document_size, 8_000_000);
        assert_eq!(settings.max_document_id_length, u64::MAX);
        assert_eq!(settings.x_forwarded_host, "x-forwarded-host");
        assert_eq!(settings.attachments_csp.as_deref(), Some("sandbox"));
        assert!(settings.compressible_types.starts_with("text/*, "));
        assert_eq!(settings.prefer_minimal.len(), 8);
        assert!(settings.admin_only_by_default && !settings.require_valid_user);
    }

    #[test]
    fn old_section_names_count_until_the_new_one_is_given() {
        let layers = Layers::with("[httpd]\nmax_uri_length = 5\nport = 7\n");
        let settings = Settings::read(&layers).unwrap();
        assert_eq!((settings.max_uri_bytes, settings.port), (5, 5984));
        let layers = Layers::with("[httpd]\nmax_uri_length = 5\n[chttpd]\nmax_uri_length = 6\n");
        assert_eq!(Settings::read(&layers).unwrap().max_uri_bytes, 6);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "[chttpd]\nport = http\n",
            "[chttpd]\nport = 70000\n",
            "[chttpd]\nrequire_valid_user = yes\n",
            "[couchdb]\nmax_document_size = -1\n",
            "[uuids]\nalgorithm = dice\n",
            "[chttpd]\nx_forwarded_host = not a name\n",
        ] {
            assert!(Settings::read(&Layers::with(text)).is_err(), "{text}");
        }
    }
}

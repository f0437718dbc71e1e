//! Options of CouchDB that are accepted and have no effect here: a file that sets them is a good one.

/// What one section may hold without effect.
pub(super) struct Section {
    /// Its name; a `*` at the end stands for any rest.
    pub(super) name: &'static str,
    /// Its keys; `*` for any.
    pub(super) keys: &'static str,
}

const fn section(name: &'static str, keys: &'static str) -> Section {
    Section { name, keys }
}

/// CouchDB 3's options, and the sections of CouchDB 1 and 2 that are still found in files. Those that
/// Settee acts on need not be here: what is read is known by being read.
pub(super) const WITHOUT_EFFECT: &[Section] = &[
    section(
        "couchdb",
        "attachment_stream_buffer_size attachment_writer_timeout btree_chunk_size \
         changes_doc_ids_optimization_threshold cfile_skip_ioq compaction_log_level default_engine \
         delayed_commits delete_after_rename enable_database_recovery fsync_options \
         index_cleanup_delay_msec js_engine max_couch_server_shards max_database_name_length \
         max_partition_size os_process_timeout plugin_dir prohibit_downgrade stem_interactive_updates \
         time_seq_min_time update_lru_on_read upgrade_in_progress uri_file use_cfile users_db_suffix \
         util_driver_dir view_index_dir write_xxhash_checksums",
    ),
    section(
        "chttpd",
        "allow_jsonp authentication_handlers backlog bulk_get_use_batches disconnect_check_jitter_msec \
         disconnect_check_msec peer_header rewrite_limit scrub_json_request secure_rewrites \
         server_options socket_options authentication_redirect",
    ),
    section(
        "httpd",
        "allow_jsonp authentication_handlers bind_address default_handler log_max_chunk_size port \
         redirect_vhost_handler rewrite_limit secure_rewrites server_options socket_options \
         vhost_global_handlers",
    ),
    section(
        "ssl",
        "cacert_file cert_file ciphers ecc_curves enable fail_if_no_peer_cert key_file password port \
         secure_renegotiate signature_algs ssl_certificate_max_depth tls_versions verify_fun \
         verify_ssl_certificates",
    ),
    section(
        "chttpd_auth",
        "allow_conflicted_user_docs auth_cache_size hash_algorithms max_iterations min_iterations \
         password_regexp password_scheme pbkdf2_prf proxy_use_secret public_fields \
         upgrade_hash_on_auth users_db_public x_auth_roles x_auth_token x_auth_username",
    ),
    section(
        "couch_httpd_auth",
        "auth_cache_size max_iterations min_iterations password_scheme proxy_use_secret public_fields \
         require_valid_user users_db_public x_auth_roles x_auth_token x_auth_username",
    ),
    section("chttpd_auth_cache", "*"),
    section("couch_passwords_cache", "*"),
    section("jwt_auth", "*"),
    section("jwt_keys", "*"),
    section("couch_peruser", "*"),
    section("csp", "*"),
    section("cluster", "n placement seedlist reconnect_interval_sec q"),
    section("purge", "index_lag_warn_seconds max_document_id_number"),
    section("query_server_config", "*"),
    section("native_query_servers", "*"),
    section("quickjs", "*"),
    section("mango", "*"),
    section("feature_flags", "*"),
    section("couch_auto_purge_plugin", "*"),
    section("couch_scanner*", "*"),
    section("*_scanner_plugin*", "*"),
    section("nouveau*", "*"),
    section("dreyfus*", "*"),
    section("disk_monitor", "*"),
    section("ddoc_cache", "*"),
    section("bt_engine_cache", "*"),
    section("couchdb_engines", "*"),
    section("indexers", "*"),
    section("view_updater", "*"),
    section("view_upgrade", "*"),
    section("database_compaction", "*"),
    section("view_compaction", "*"),
    section("smoosh*", "*"),
    section("upgrade_dbs", "*"),
    section("upgrade_views", "*"),
    section("ratio_dbs", "*"),
    section("ratio_views", "*"),
    section("slack_dbs", "*"),
    section("slack_views", "*"),
    section(
        "replicator",
        "cacert_file cert_file db key_file \
         max_replication_retry_count password priority_coeff socket_options ssl_certificate_max_depth \
         ssl_cipher_suites usage_coeff valid_socket_options",
    ),
    section(
        "log",
        "file filter_fields format include_sasl max_message_size strip_last_msg syslog_appid \
         syslog_facility syslog_host syslog_port write_buffer write_delay writer",
    ),
    section("stats", "*"),
    section("prometheus", "interval"),
    section("config", "*"),
    section("global_changes", "*"),
    section("process_priority", "*"),
    section("fabric", "*"),
    section("mem3", "*"),
    section("rexi", "*"),
    section("ioq*", "*"),
    section("reshard", "*"),
    section("custodian", "*"),
    section("hibernate_after", "*"),
    section("vhosts", "*"),
    section("httpd_global_handlers", "*"),
    section("httpd_db_handlers", "*"),
    section("httpd_design_handlers", "*"),
    section("daemons", "*"),
    section("os_daemons", "*"),
    section("os_daemon_settings", "*"),
    section("external", "*"),
    section("update_notification", "*"),
    section("query_servers", "*"),
    section("couch_httpd_oauth", "*"),
    section("oauth_*", "*"),
    section("compactions", "*"),
    section("compaction_daemon", "*"),
];

impl Section {
    /// Whether a section of this name is meant.
    pub(super) fn covers(&self, name: &str) -> bool {
        let matches = |pattern: &str| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        };
        match self.name.strip_prefix('*') {
            Some(rest) => name.contains(rest.trim_end_matches('*')),
            None => matches(self.name),
        }
    }

    /// Whether it may hold this key.
    pub(super) fn holds(&self, key: &str) -> bool {
        self.keys == "*" || self.keys.split_whitespace().any(|known| known == key)
    }
}

//! The built-in `default.ini`: the lowest layer of the configuration.

/// Every option Settee acts on, with CouchDB's defaults.
pub(super) const DEFAULT_INI: &str = "\
[couchdb]
single_node = true
max_dbs_open = 500
max_document_size = 8000000
max_attachment_size = 1073741824
max_document_id_length = infinity
os_process_timeout = 5000
default_security = admin_only
maintenance_mode = false

[chttpd]
port = 5984
bind_address = 127.0.0.1
require_valid_user = false
require_valid_user_except_for_up = false
admin_only_all_dbs = true
all_dbs_lists_readable_only = true
authentication_handlers = {chttpd_auth, cookie_authentication_handler}, {chttpd_auth, default_authentication_handler}
max_db_number_for_dbs_info_req = 100
buffer_response = false
allow_jsonp = false
max_uri_length = 8000
max_http_request_size = 4294967296
changes_timeout = 60000
scrub_json_request = true
secure_rewrites = true
rewrite_limit = 100
decode_plus_to_space = true
server_header_versions = true
prefer_minimal = Cache-Control, Content-Length, Content-Range, Content-Type, ETag, Server, Transfer-Encoding, Vary
x_forwarded_host = X-Forwarded-Host
x_forwarded_proto = X-Forwarded-Proto
x_forwarded_ssl = X-Forwarded-Ssl
enable_cors = false
enable_xframe_options = false
validate_host = false

[ssl]
enable = false
port = 6984

[smoosh]
db_channels = upgrade_dbs,ratio_dbs,slack_dbs
view_channels = upgrade_views,ratio_views,slack_views
cleanup_channels = index_cleanup

[smoosh.ratio_dbs]
priority = ratio
min_priority = 2.0

[smoosh.slack_dbs]
priority = slack
min_priority = 536870912

[smoosh.ratio_views]
priority = ratio
min_priority = 2.0

[smoosh.slack_views]
priority = slack
min_priority = 536870912

[chttpd_auth]
timeout = 600
allow_persistent_cookies = true
hash_algorithms = sha256, sha
password_scheme = pbkdf2
pbkdf2_prf = sha256
iterations = 600000
min_iterations = 1
max_iterations = 1000000000
upgrade_hash_on_auth = true
allow_conflicted_user_docs = false
proxy_use_secret = true
x_auth_username = X-Auth-CouchDB-UserName
x_auth_roles = X-Auth-CouchDB-Roles
x_auth_token = X-Auth-CouchDB-Token
authentication_redirect = /_utils/session.html

[chttpd_auth_lockout]
mode = enforce
threshold = 5
max_lifetime = 300000
max_objects = 10000

[jwt_auth]
required_claims = exp
roles_claim_name = _couchdb.roles

[replicator]
max_jobs = 500
interval = 60000
max_churn = 20
startup_jitter = 5000
max_history = 20
min_backoff = 30000
max_backoff = 30720000
health_threshold = 120
stuck_after = 300000
update_docs = false
worker_processes = 4
worker_batch_size = 500
http_connections = 20
connection_timeout = 30000
retries_per_request = 5
checkpoint_interval = 30000
use_checkpoints = true
use_bulk_get = true
valid_endpoint_protocols = http, https
valid_proxy_protocols = http, https, socks5
verify_ssl_certificates = true

[couch_peruser]
enable = false
delete_dbs = false
q = 1
database_prefix = userdb-

[attachments]
compression_level = 8
compressible_types = text/*, application/javascript, application/json, application/xml

[uuids]
algorithm = sequential
format = base_16
max_count = 1000

[query_server_config]
reduce_limit = true
reduce_limit_threshold = 5000
reduce_limit_ratio = 2.0
query_limit = infinity

[query]
serve_old = false
build_threads = 0
concurrent_builds = 2
build_memory = 67108864

[mango]
default_limit = 25
index_scan_warning_threshold = 10

[ken]
enable = true
limit = 20

[cluster]
q = 2
n = 1

[purge]
max_revisions_number = 1000

[cors]
credentials = false

[global_changes]
update_db = true
max_write_delay = 500

[csp]
utils_enable = true
utils_header_value = default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'
attachments_enable = true
attachments_header_value = sandbox
showlist_enable = true
showlist_header_value = sandbox

[query_server_config]
memory_limit = 268435456
project_documents = true
simple_maps = true

[log]
level = info

[prometheus]
additional_port = false
bind_address = 127.0.0.1
port = 17986

[vendor]
name = Settee
";

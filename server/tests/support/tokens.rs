//! Credentials of all kinds, as browsers, proxies and issuers make them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;

use super::Settee;

/// `[chttpd_auth] secret` of [`all_handlers`].
pub(crate) const SECRET: &str = "the secret of proxies and cookies";

/// The secret behind `[jwt_keys] hmac:_default` of [`all_handlers`].
pub(crate) const JWT_SECRET: &[u8] = b"the secret of tokens";

/// A configuration with every way in.
pub(crate) fn all_handlers() -> String {
    let jwt = STANDARD.encode(JWT_SECRET);
    format!(
        "[chttpd]\nauthentication_handlers = {{chttpd_auth, cookie_authentication_handler}}, \
         {{chttpd_auth, proxy_authentication_handler}}, {{chttpd_auth, jwt_authentication_handler}}, \
         {{chttpd_auth, default_authentication_handler}}\n\
         [chttpd_auth]\niterations = 100\nsecret = {SECRET}\n\
         [jwt_keys]\nhmac:_default = {jwt}\n"
    )
}

/// The headers by which a proxy says who asks.
pub(crate) fn proxy(name: &str, roles: &str) -> Vec<(&'static str, String)> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let token = hmac::sign(&key, name.as_bytes());
    let token = token.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    vec![
        ("X-Auth-CouchDB-UserName", name.to_owned()),
        ("X-Auth-CouchDB-Roles", roles.to_owned()),
        ("X-Auth-CouchDB-Token", token),
    ]
}

/// A token before it is signed.
pub(crate) fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// A token with this signature.
pub(crate) fn signed(unsigned: &str, signature: &[u8]) -> String {
    format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A token signed with a secret.
pub(crate) fn hs256(secret: &[u8], header: &str, claims: &str) -> String {
    let unsigned = unsigned(header, claims);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), unsigned.as_bytes());
    signed(&unsigned, mac.as_ref())
}

/// The header by which a good token of this user is sent.
pub(crate) fn jwt(name: &str, roles: &[&str]) -> (&'static str, String) {
    let claims = serde_json::json!({"sub": name, "exp": 9_999_999_999u64, "_couchdb.roles": roles});
    let token = hs256(JWT_SECRET, r#"{"alg":"HS256","typ":"JWT"}"#, &claims.to_string());
    ("Authorization", format!("Bearer {token}"))
}

impl Settee {
    /// Makes an account.
    pub(crate) fn add_user(&self, name: &str, password: &str, roles: &[&str]) -> serde_json::Value {
        let body = serde_json::json!({
            "name": name, "password": password, "type": "user", "roles": roles,
        });
        let path = format!("/_users/org.couchdb.user:{name}");
        self.ask("PUT", &path, &body.to_string()).expect(201).json()
    }

    /// Logs in and returns the value for a `Cookie` header.
    pub(crate) fn log_in(&self, name: &str, password: &str) -> String {
        let body = serde_json::json!({"name": name, "password": password}).to_string();
        let answer = self.ask_as_nobody("POST", "/_session", &body).expect(200);
        let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
        cookie.to_owned()
    }

    /// Whom the server takes the sender of these headers for.
    pub(crate) fn who(&self, headers: &[(&str, &str)]) -> Result<String, u16> {
        let answer = self.connect().ask("GET", "/_session", headers, "");
        match answer.status {
            200 => Ok(answer.json()["userCtx"]["name"].as_str().unwrap_or("nobody").to_owned()),
            status => Err(status),
        }
    }
}

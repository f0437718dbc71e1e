//! Credentials that must let nobody in, and requests that must not be taken for others.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::json;
use support::tokens::{JWT_SECRET, SECRET, all_handlers, hs256, jwt, proxy, signed, unsigned};
use support::{Settee, basic};

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn start(ini: &str) -> Settee {
    let environment =
        vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)];
    Settee::start_with(ini, environment, &[])
}

fn bearer(server: &Settee, token: &str) -> Result<String, u16> {
    server.who(&[("Authorization", &format!("Bearer {token}"))])
}

/// A key of an issuer.
struct Signer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl Signer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap();
        Self { pair, random }
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let unsigned = unsigned(header, claims);
        let signature = self.pair.sign(&self.random, unsigned.as_bytes()).unwrap();
        signed(&unsigned, signature.as_ref())
    }

    /// `SubjectPublicKeyInfo`: its fixed beginning for P-256, then the point.
    fn pem(&self) -> String {
        let mut der =
            vec![0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
        der.extend([0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00]);
        der.extend_from_slice(self.pair.public_key().as_ref());
        format!("-----BEGIN PUBLIC KEY-----\\n{}\\n-----END PUBLIC KEY-----", STANDARD.encode(der))
    }

    fn jwk(&self, kid: &str) -> serde_json::Value {
        let point = self.pair.public_key().as_ref();
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({
            "kty": "EC", "crv": "P-256", "kid": kid, "use": "sig",
            "x": encode(&point[1..33]), "y": encode(&point[33..]),
        })
    }
}

#[test]
fn tokens_that_let_nobody_in() {
    let signer = Signer::new();
    let server = start(&format!("{}ec:curve = {}\n", all_handlers(), signer.pem()));
    let claims = r#"{"sub":"anna","exp":9999999999}"#;
    let es256 = r#"{"alg":"ES256","kid":"curve"}"#;
    let good = hs256(JWT_SECRET, HS256, claims);
    assert_eq!(bearer(&server, &good), Ok("anna".to_owned()));
    let curve = signer.sign(es256, claims);
    assert_eq!(bearer(&server, &curve), Ok("anna".to_owned()));

    let as_admin = r#"{"sub":"anna","exp":9999999999,"_couchdb.roles":["_admin"]}"#;
    let (_, signature) = good.rsplit_once('.').unwrap();
    let swapped = format!("{}.{signature}", unsigned(HS256, as_admin));
    // The public key as the secret of an HMAC: what a server falls for that lets the token choose.
    let pem = signer.pem().replace("\\n", "\n");
    let confused = hs256(pem.as_bytes(), r#"{"alg":"HS256","kid":"curve"}"#, as_admin);
    let confused_default = hs256(pem.as_bytes(), HS256, as_admin);
    let none = |alg: &str| signed(&unsigned(&format!(r#"{{"alg":"{alg}"}}"#), as_admin), b"");
    let with_jwk = json!({"alg": "ES256", "jwk": Signer::new().jwk("x"), "kid": "curve"});
    for (what, token) in [
        ("other claims", swapped),
        ("a public key as secret", confused),
        ("the same under the default key", confused_default),
        ("alg none", none("none")),
        ("alg NONE", none("NONE")),
        ("an empty alg", none("")),
        ("another secret", hs256(b"guess", HS256, as_admin)),
        ("an empty secret", hs256(b"", HS256, as_admin)),
        ("another key", Signer::new().sign(es256, as_admin)),
        ("a key that it brings along", Signer::new().sign(&with_jwk.to_string(), as_admin)),
        ("an unknown key", signer.sign(r#"{"alg":"ES256","kid":"other"}"#, as_admin)),
        ("a key with a path", signer.sign(r#"{"alg":"ES256","kid":"../curve"}"#, as_admin)),
        ("no signature", good.rsplit_once('.').unwrap().0.to_owned() + "."),
        ("two parts", good.rsplit_once('.').unwrap().0.to_owned()),
        ("a signature cut short", good[..good.len() - 1].to_owned()),
        ("four parts", format!("{good}.x")),
        ("expired", hs256(JWT_SECRET, HS256, r#"{"sub":"anna","exp":1}"#)),
        ("without end", hs256(JWT_SECRET, HS256, r#"{"sub":"anna"}"#)),
        ("not yet", hs256(JWT_SECRET, HS256, r#"{"sub":"a","exp":9999999999,"nbf":9999999998}"#)),
        ("nobody's", hs256(JWT_SECRET, HS256, r#"{"exp":9999999999}"#)),
        ("an odd name", hs256(JWT_SECRET, HS256, r#"{"sub":["admin"],"exp":9999999999}"#)),
    ] {
        let answer = bearer(&server, &token);
        assert!(matches!(answer, Err(400 | 401)), "{what}: {answer:?}");
    }
}

#[test]
fn cookies_and_proxies_that_let_nobody_in() {
    let server = start(&all_handlers());
    let written = server.add_user("anna", "pw", &[]);
    let cookie = server.log_in("anna", "pw");
    let value = cookie.split_once('=').unwrap().1;
    let raw = URL_SAFE_NO_PAD.decode(value).unwrap();
    let recoded = |raw: &[u8]| format!("AuthSession={}", URL_SAFE_NO_PAD.encode(raw));
    assert_eq!(server.who(&[("Cookie", &recoded(&raw))]), Ok("anna".to_owned()));
    for at in 0..raw.len() {
        let mut changed = raw.clone();
        changed[at] ^= 0x10;
        let who = server.who(&[("Cookie", &recoded(&changed))]);
        assert!(matches!(who.as_deref(), Ok("nobody") | Err(400)), "byte {at}: {who:?}");
    }
    for end in 0..raw.len() {
        let who = server.who(&[("Cookie", &recoded(&raw[..end]))]);
        assert!(matches!(who.as_deref(), Ok("nobody") | Err(400)), "{end} bytes: {who:?}");
    }
    // An administrator's name with a user's mark.
    let admin = [b"admin".as_slice(), &raw["anna".len()..]].concat();
    assert_eq!(server.who(&[("Cookie", &recoded(&admin))]), Ok("nobody".to_owned()));

    let document = json!({
        "_rev": written["rev"], "name": "anna", "password": "newer", "type": "user", "roles": [],
    });
    server.ask("PUT", "/_users/org.couchdb.user:anna", &document.to_string()).expect(201);
    assert_eq!(server.who(&[("Cookie", &cookie)]), Ok("nobody".to_owned()), "the password is new");
    assert_eq!(server.who(&[("Authorization", &basic("anna", "pw"))]), Err(401));

    let good = proxy("anna", "");
    let headers = |changed: Option<(usize, &str)>| {
        let mut headers: Vec<_> = good.iter().map(|(name, value)| (*name, value.clone())).collect();
        if let Some((at, value)) = changed {
            headers[at].1 = value.to_owned();
        }
        headers
    };
    for (changed, expected) in [
        (None, "anna"),
        (Some((0, "otto")), "nobody"),
        (Some((2, "")), "nobody"),
        (Some((2, &good[2].1[..62])), "nobody"),
        (Some((2, SECRET)), "nobody"),
    ] {
        let headers = headers(changed);
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(server.who(&headers), Ok(expected.to_owned()), "{changed:?}");
    }
}

/// An issuer on this machine: discovery, keys, and how often it was asked for them.
mod issuer {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};

    pub(super) struct Issuer {
        pub(super) url: String,
        pub(super) keys: Arc<Mutex<Vec<Value>>>,
        pub(super) asked: Arc<AtomicUsize>,
    }

    impl Issuer {
        pub(super) fn start(keys: Vec<Value>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}/realms/app", listener.local_addr().unwrap());
            let issuer = Self { url, keys: Arc::new(Mutex::new(keys)), asked: Arc::default() };
            let (url, keys) = (issuer.url.clone(), Arc::clone(&issuer.keys));
            let asked = Arc::clone(&issuer.asked);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                    let first = lines.next().unwrap().unwrap();
                    while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
                    let body = if first.contains("/.well-known/openid-configuration") {
                        json!({"issuer": url, "jwks_uri": format!("{url}/keys")})
                    } else {
                        asked.fetch_add(1, Ordering::SeqCst);
                        json!({"keys": *keys.lock().unwrap()})
                    };
                    let body = body.to_string();
                    let length = body.len();
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                    stream.write_all((head + &body).as_bytes()).unwrap();
                }
            });
            issuer
        }
    }
}

#[test]
fn tokens_of_an_issuer_that_publishes_its_keys() {
    let (first, second) = (Signer::new(), Signer::new());
    let issuer = issuer::Issuer::start(vec![first.jwk("1"), second.jwk("2")]);
    let server = start(&format!(
        "{}[jwt_issuers]\napp = {}\n[jwt_auth]\naudience = settee\nroles_claim_path = realm.roles\n",
        all_handlers(),
        issuer.url
    ));
    let claims = |audience: &str| {
        json!({
            "iss": issuer.url, "aud": [audience], "sub": "anna", "exp": 9_999_999_999u64,
            "realm": {"roles": ["staff"]},
        })
        .to_string()
    };
    let header = |kid: &str| json!({"alg": "ES256", "kid": kid}).to_string();
    for (signer, kid) in [(&first, "1"), (&second, "2")] {
        let token = signer.sign(&header(kid), &claims("settee"));
        assert_eq!(bearer(&server, &token), Ok("anna".to_owned()));
    }
    let token = format!("Bearer {}", first.sign(&header("1"), &claims("settee")));
    let answer = server.connect().ask("GET", "/_session", &[("Authorization", &token)], "");
    assert_eq!(answer.json()["userCtx"]["roles"], json!(["staff"]));

    let refused = |token: &str| assert_eq!(bearer(&server, token), Err(400), "{token}");
    refused(&first.sign(&header("2"), &claims("settee")));
    refused(&first.sign(&header("1"), &claims("another server")));
    // A secret of the configuration doesn't speak for the issuer.
    refused(&hs256(JWT_SECRET, HS256, &claims("settee")));
    for n in 0..20 {
        refused(&first.sign(&header(&format!("unknown{n}")), &claims("settee")));
    }
    let asked = issuer.asked.load(std::sync::atomic::Ordering::SeqCst);
    assert!(asked <= 2, "unknown keys made the server ask {asked} times");
}

#[test]
fn an_issuer_that_cannot_be_reached() {
    let signer = Signer::new();
    let ini = format!("{}[jwt_issuers]\napp = http://127.0.0.1:1/\n", all_handlers());
    let server = start(&ini);
    let claims = json!({"iss": "http://127.0.0.1:1/", "sub": "anna", "exp": 9_999_999_999u64});
    let token = signer.sign(r#"{"alg":"ES256","kid":"1"}"#, &claims.to_string());
    assert_eq!(bearer(&server, &token), Err(503));
    let (name, value) = jwt("anna", &[]);
    assert_eq!(server.who(&[(name, &value)]), Ok("anna".to_owned()), "others come in all the same");
}

/// Sends bytes and returns the statuses of all that is answered.
fn statuses(server: &Settee, bytes: &str) -> Vec<u16> {
    let mut connection = server.connect();
    connection.send(bytes.as_bytes());
    connection.finish();
    let mut statuses = Vec::new();
    while let Some(answer) = connection.head() {
        statuses.push(answer.status);
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        connection.read_exact(&mut body);
    }
    statuses
}

#[test]
fn requests_hidden_in_others_are_not_answered() {
    let server = start(&all_handlers());
    let hidden = "GET /_up HTTP/1.1\r\nHost: s\r\n\r\n";
    let length = hidden.len();
    for head in [
        // The length is said twice, in two ways: whoever stands before the server may take the other.
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        format!("Content-Length: 0, {length}\r\n\r\n{hidden}"),
        format!("Content-Length: +{length}\r\n\r\n{hidden}"),
        format!("Content-Length: -1\r\n\r\n{hidden}"),
        format!("Content-Length : 0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("X: y\n\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
    ] {
        let request = format!("POST /_session HTTP/1.1\r\nHost: s\r\n{head}");
        let statuses = statuses(&server, &request);
        assert!(
            statuses.len() <= 1 || statuses.first() == Some(&400) && statuses.len() == 1,
            "{head:?}: {statuses:?}"
        );
        assert!(!statuses.contains(&200), "{head:?}: {statuses:?}");
    }
}

#[test]
fn headers_cannot_be_slipped_into_answers() {
    let server = start(&all_handlers());
    server.ask("PUT", "/db", "").expect(201);
    for (method, path, headers) in [
        ("PUT", "/db/a%0d%0aX-Evil:%20yes", vec![]),
        ("GET", "/db/a%0d%0aX-Evil:%20yes", vec![]),
        ("GET", "/_session?next=/%0d%0aX-Evil:%20yes", vec![]),
        ("GET", "/db", vec![("X-CouchDB-WWW-Authenticate", "a\tX-Evil: yes")]),
        ("GET", "/db", vec![("X-Couch-Request-ID", "a X-Evil: yes")]),
        ("PUT", "/db/b", vec![("X-Forwarded-Host", "h X-Evil: yes")]),
        ("GET", "/db/c", vec![("Accept", "text/html"), ("Host", "h")]),
    ] {
        let body = if method == "PUT" { "{}" } else { "" };
        let answer = server.connect().ask(method, path, &headers, body);
        assert_eq!(answer.header("x-evil"), None, "{method} {path} {headers:?}");
        assert!(answer.status < 500, "{method} {path}: {}", answer.status);
    }
}

#[test]
fn configuration_cannot_be_broken_out_of() {
    let server = start(&all_handlers());
    for (path, value) in [
        ("/log/level", "info\r\n[admins]\r\neve = pw"),
        ("/log/level", "info\n[admins]\neve = pw"),
        ("/log/level", "info ; [admins]"),
        ("/admins/a%0aeve%20=%20pw", "pw"),
        ("/log%5D%0a[admins/eve", "pw"),
        ("/x%5D/y", "z"),
    ] {
        let path = format!("/_node/_local/_config{path}");
        let answer = server.ask("PUT", &path, &json!(value).to_string());
        assert!((400..500).contains(&answer.status), "{path} {value:?}: {}", answer.status);
    }
    let ini = std::fs::read_to_string(server.data_dir().join("local.ini")).unwrap();
    assert!(!ini.contains("eve"), "{ini}");
    assert_eq!(server.who(&[("Authorization", &basic("eve", "pw"))]), Err(401));
}

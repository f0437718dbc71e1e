//! Credentials that must let nobody in, and requests that must not be taken for others.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use support::signers::Signer;
use support::tokens::{JWT_SECRET, SECRET, all_handlers, hs256, proxy, signed, unsigned};
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

#[test]
fn tokens_that_let_nobody_in() {
    let signer = Signer::p256();
    let server = start(&(all_handlers() + &signer.line("curve")));
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
    let pem = signer.config().1.replace("\\n", "\n");
    let confused = hs256(pem.as_bytes(), r#"{"alg":"HS256","kid":"curve"}"#, as_admin);
    let confused_default = hs256(pem.as_bytes(), HS256, as_admin);
    let none = |alg: &str| signed(&unsigned(&format!(r#"{{"alg":"{alg}"}}"#), as_admin), b"");
    let with_jwk = json!({"alg": "ES256", "jwk": Signer::p256().jwk("x"), "kid": "curve"});
    for (what, token) in [
        ("other claims", swapped),
        ("a public key as secret", confused),
        ("the same under the default key", confused_default),
        ("alg none", none("none")),
        ("alg NONE", none("NONE")),
        ("an empty alg", none("")),
        ("another secret", hs256(b"guess", HS256, as_admin)),
        ("an empty secret", hs256(b"", HS256, as_admin)),
        ("another key", Signer::p256().sign(es256, as_admin)),
        ("a key that it brings along", Signer::p256().sign(&with_jwk.to_string(), as_admin)),
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

#[test]
fn names_lead_to_no_file() {
    let server = start(&all_handlers());
    server.ask("PUT", "/db", "").expect(201);
    let files = || {
        let mut names: Vec<_> = [server.folder().to_owned(), server.data_dir()]
            .iter()
            .flat_map(|folder| std::fs::read_dir(folder).unwrap())
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    let before = files();
    for name in [
        "..%2Fescaped",
        "a%2F..%2F..%2Fescaped",
        "%2Fetc%2Fescaped",
        "a%2F%2E%2E%2Fescaped",
        "a%00b",
        "a%5C..%5Cescaped",
        "a.settee",
        "..",
        ".",
        "a%0Ab",
        "%C0%AE%C0%AE%2Fescaped",
        "A",
    ] {
        let status = server.ask("PUT", &format!("/{name}"), "").status;
        assert!((400..500).contains(&status), "{name}: {status}");
        assert!(
            (400..500).contains(&server.ask("DELETE", &format!("/{name}"), "").status),
            "{name}"
        );
    }
    // Attachments are no files: a name is a name.
    let mut rev = server.ask("PUT", "/db/doc", "{}").expect(201).json()["rev"].clone();
    for name in ["..%2F..%2Fescaped", "%2Fetc%2Fpasswd", "a%5C..%5Cb", "..", "a%00b", "a//b", "CON"]
    {
        let path = format!("/db/doc/{name}");
        let put = server.ask("PUT", &format!("{path}?rev={}", rev.as_str().unwrap()), name);
        let put = put.expect(201).json();
        rev = put["rev"].clone();
        assert_eq!(server.ask("GET", &path, "").expect(200).text(), name);
    }
    assert_eq!(files(), before, "no file came or went");
}

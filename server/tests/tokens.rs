//! JSON Web Tokens by every algorithm, with keys from the configuration and from issuers. What must let
//! nobody in is in `forgeries.rs`.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use serde_json::json;
use support::Settee;
use support::issuer::Issuer;
use support::signers::{Signer, fixture};
use support::tokens::{JWT_SECRET, all_handlers, hs256, jwt};

const CLAIMS: &str = r#"{"sub":"anna","exp":9999999999}"#;

fn environment() -> Vec<(&'static str, &'static str)> {
    vec![("COUCHDB_USER", support::ADMIN), ("COUCHDB_PASSWORD", support::PASSWORD)]
}

fn start(ini: &str) -> Settee {
    Settee::start_with(ini, environment(), &[])
}

fn header(algorithm: &str, kid: &str) -> String {
    json!({"alg": algorithm, "typ": "JWT", "kid": kid}).to_string()
}

/// One key of each kind, and its name.
fn signers() -> Vec<(&'static str, Signer)> {
    vec![
        ("secret", Signer::hmac(b"another secret of tokens")),
        ("rsa", Signer::rsa()),
        ("p256", Signer::p256()),
        ("p384", Signer::p384()),
        ("p521", Signer::p521()),
        ("ed25519", Signer::ed25519()),
    ]
}

const ALGORITHMS: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
    "ES384", "ES512", "EdDSA",
];

#[test]
fn every_algorithm_works_with_its_own_key_and_with_no_other() {
    let signers = signers();
    let lines: String = signers.iter().map(|(kid, signer)| signer.line(kid)).collect();
    let server = start(&format!("{}{lines}", all_handlers()));
    let who = |token: String| server.who(&[("Authorization", &format!("Bearer {token}"))]);
    let mut good = Vec::new();
    for (kid, signer) in &signers {
        for algorithm in signer.algorithms() {
            good.push(*algorithm);
            let token = signer.sign_as(algorithm, &header(algorithm, kid), CLAIMS);
            assert_eq!(who(token), Ok("anna".to_owned()), "{algorithm}");
            // The same signature under another name: of another algorithm, or of another key.
            for other in ALGORITHMS.iter().filter(|other| *other != algorithm) {
                let token = signer.sign_as(algorithm, &header(other, kid), CLAIMS);
                assert_eq!(who(token), Err(400), "{algorithm} as {other} with {kid}");
            }
            for (other, _) in signers.iter().filter(|(other, _)| other != kid) {
                let token = signer.sign_as(algorithm, &header(algorithm, other), CLAIMS);
                assert_eq!(who(token), Err(400), "{algorithm} with {other}");
            }
        }
    }
    assert_eq!(good, ALGORITHMS, "each has been tried");
}

#[test]
fn a_public_key_is_the_secret_of_no_algorithm() {
    let signers = signers();
    let lines: String = signers.iter().map(|(kid, signer)| signer.line(kid)).collect();
    let server = start(&format!("{}{lines}", all_handlers()));
    for (kid, signer) in signers.iter().skip(1) {
        let (_, value) = signer.config();
        // As it stands in the file, as text, and as bytes.
        let der = value.split("\\n").nth(1).unwrap();
        let der = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, der).unwrap();
        let pem = value.replace("\\n", "\n");
        for secret in [value.as_bytes(), pem.as_bytes(), format!("{pem}\n").as_bytes(), &der] {
            let forger = Signer::hmac(secret);
            for algorithm in forger.algorithms() {
                let token = forger.sign_as(algorithm, &header(algorithm, kid), CLAIMS);
                let answer = server.who(&[("Authorization", &format!("Bearer {token}"))]);
                assert_eq!(answer, Err(400), "{algorithm} with {kid}");
            }
        }
    }
}

/// What an issuer's token says, for the audience `settee`.
fn claims(issuer: &Issuer, audience: &str) -> String {
    json!({
        "iss": issuer.url, "aud": [audience], "sub": "anna", "exp": 9_999_999_999u64,
        "realm": {"roles": ["staff"]},
    })
    .to_string()
}

fn with_issuer(issuer: &Issuer) -> String {
    format!(
        "{}[jwt_issuers]\napp = {}\n[jwt_auth]\naudience = settee\nroles_claim_path = realm.roles\n",
        all_handlers(),
        issuer.url
    )
}

#[test]
fn tokens_of_an_issuer_that_publishes_its_keys() {
    let signers = signers();
    let published = signers.iter().skip(1).map(|(kid, signer)| signer.jwk(kid)).collect();
    let issuer = Issuer::start(published);
    let server = start(&with_issuer(&issuer));
    let bearer = |token: &str| server.who(&[("Authorization", &format!("Bearer {token}"))]);
    let settee = claims(&issuer, "settee");
    for (kid, signer) in signers.iter().skip(1) {
        for algorithm in signer.algorithms() {
            let token = signer.sign_as(algorithm, &header(algorithm, kid), &settee);
            assert_eq!(bearer(&token), Ok("anna".to_owned()), "{algorithm}");
        }
    }
    let p256 = &signers[2].1;
    let token = format!("Bearer {}", p256.sign(&header("ES256", "p256"), &settee));
    let answer = server.connect().ask("GET", "/_session", &[("Authorization", &token)], "");
    assert_eq!(answer.json()["userCtx"]["roles"], json!(["staff"]));

    let refused = |token: &str| assert_eq!(bearer(token), Err(400), "{token}");
    refused(&p256.sign(&header("ES256", "p384"), &settee));
    refused(&Signer::p256().sign(&header("ES256", "p256"), &settee));
    refused(&p256.sign(&header("ES256", "p256"), &claims(&issuer, "another server")));
    // A secret of the configuration doesn't speak for the issuer.
    refused(&hs256(JWT_SECRET, r#"{"alg":"HS256"}"#, &settee));
    for n in 0..20 {
        refused(&p256.sign(&header("ES256", &format!("unknown{n}")), &settee));
    }
    assert!(issuer.asked() <= 2, "unknown keys made the server ask {} times", issuer.asked());
}

/// Starts with these certificates as the ones that the system trusts.
fn start_trusting(authority: &str, ini: &str) -> Settee {
    let path = fixture(authority).to_str().unwrap().to_owned();
    let mut environment = environment();
    environment.push(("SSL_CERT_FILE", Box::leak(path.into_boxed_str())));
    Settee::start_with(ini, environment, &[])
}

#[test]
fn an_issuers_keys_come_over_tls_from_whom_the_system_trusts() {
    let signer = Signer::p256();
    let issuer = Issuer::start_with_tls(vec![signer.jwk("1")]);
    let token = signer.sign(&header("ES256", "1"), &claims(&issuer, "settee"));
    let bearer = [("Authorization", &*format!("Bearer {token}"))];

    let server = start_trusting("ca.cert.pem", &with_issuer(&issuer));
    assert_eq!(server.who(&bearer), Ok("anna".to_owned()));
    assert_eq!(issuer.asked(), 1);

    // Its own certificate is no authority, and this one is nobody's.
    let stranger = start_trusting("../tls/two.cert.pem", &with_issuer(&issuer));
    assert_eq!(stranger.who(&bearer), Err(503));
    assert_eq!(issuer.asked(), 1, "nothing was asked of one who is not trusted");
    let log = stranger.log();
    assert!(
        log.contains("an issuer's keys can't be fetched") && log.contains(&issuer.url),
        "{log}"
    );

    // The certificate is for `localhost`: an address is somebody else.
    let by_address = issuer.url.replace("localhost", "127.0.0.1");
    let ini = with_issuer(&issuer).replace(&issuer.url, &by_address);
    let token = signer
        .sign(&header("ES256", "1"), &claims(&issuer, "settee").replace(&issuer.url, &by_address));
    let elsewhere = start_trusting("ca.cert.pem", &ini);
    assert_eq!(elsewhere.who(&[("Authorization", &format!("Bearer {token}"))]), Err(503));
    assert_eq!(issuer.asked(), 1);
}

#[test]
fn an_issuer_that_cannot_be_reached() {
    let signer = Signer::p256();
    let ini = format!("{}[jwt_issuers]\napp = http://127.0.0.1:1/\n", all_handlers());
    let server = start(&ini);
    let claims = json!({"iss": "http://127.0.0.1:1/", "sub": "anna", "exp": 9_999_999_999u64});
    let token = signer.sign(&header("ES256", "1"), &claims.to_string());
    assert_eq!(server.who(&[("Authorization", &format!("Bearer {token}"))]), Err(503));
    let (name, value) = jwt("anna", &[]);
    assert_eq!(server.who(&[(name, &value)]), Ok("anna".to_owned()), "others come in all the same");
}

//! What it costs to find out who asks: log-ins, and reads by those who are known against reads by nobody.

use std::{cell::Cell, rc::Rc};

use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;
use sha2::Sha256;

use crate::{
    Outcome,
    client::{Client, Target},
    report,
    workload::{Plan, fill, hammer},
};

/// Accounts that log in for the first time.
const ACCOUNTS: usize = 16;
const DOCUMENTS: usize = 10_000;
/// The ways in are measured by turns, so that a change in the machine's mood meets all of them.
const TURNS: u32 = 3;
const JWT_SECRET: &[u8] = b"the secret of load-test tokens";
const DATABASE: &str = "load-access";

pub(crate) async fn access(target: &Target, plan: &Plan) -> Outcome<()> {
    let mut client = target.connect().await?;
    for n in 0..ACCOUNTS {
        let name = format!("load-{n}");
        let body = json!({"name": name, "password": "pw", "type": "user", "roles": []});
        let path = format!("/_users/org.couchdb.user:{name}");
        client.call("PUT", &path, body.to_string().as_bytes()).await?;
    }
    log_ins(target, plan).await?;
    reads(target, &mut client, plan).await?;
    client.ok("DELETE", &format!("/{DATABASE}"), b"").await?;
    Ok(())
}

/// Log-ins by passwords that the server sees for the first time, and by one that it has seen.
async fn log_ins(target: &Target, plan: &Plan) -> Outcome<()> {
    let nobody = target.with("");
    let mut client = nobody.connect().await?;
    let start = std::time::Instant::now();
    for n in 0..ACCOUNTS {
        log_in(&mut client, n).await?;
    }
    let rate = ACCOUNTS as f64 / start.elapsed().as_secs_f64();
    report("log-in, the first of each account", rate, "log-ins/s");
    let rate = hammer(&nobody, plan.clients, plan.duration, async |client, _| {
        log_in(client, 0).await.map(drop)
    })
    .await?;
    report("log-in, many connections", rate, "log-ins/s");
    Ok(())
}

async fn log_in(client: &mut Client, n: usize) -> Outcome<()> {
    let body = json!({"name": format!("load-{n}"), "password": "pw"}).to_string();
    client.ok("POST", "/_session", body.as_bytes()).await?;
    Ok(())
}

/// Reads of the same documents by everybody.
async fn reads(target: &Target, client: &mut Client, plan: &Plan) -> Outcome<()> {
    fill(client, DATABASE, DOCUMENTS).await?;
    client.ok("PUT", &format!("/{DATABASE}/_security"), b"{}").await?;
    let handlers = "{chttpd_auth, cookie_authentication_handler}, \
                    {chttpd_auth, jwt_authentication_handler}, \
                    {chttpd_auth, default_authentication_handler}";
    let secret = BASE64_STANDARD.encode(JWT_SECRET);
    for (option, value) in
        [("chttpd/authentication_handlers", handlers), ("jwt_keys/hmac:_default", &secret)]
    {
        let path = format!("/_node/_local/_config/{option}");
        client.ok("PUT", &path, json!(value).to_string().as_bytes()).await?;
    }
    let ways = [
        ("GET document, nobody", target.with("")),
        ("GET document, cookie", target.with(&format!("Cookie: {}\r\n", cookie(target).await?))),
        ("GET document, token", target.with(&format!("Authorization: Bearer {}\r\n", token()))),
        ("GET document, name and password", target.clone()),
    ];
    let rates = Rc::new([const { Cell::new(0.0) }; 4]);
    for _ in 0..TURNS {
        for ((_, target), rate) in ways.iter().zip(rates.iter()) {
            let turn = hammer(target, plan.clients, plan.duration / TURNS, async |client, n| {
                let path = format!("/{DATABASE}/order-{:09}", n * 7919 % DOCUMENTS);
                client.ok("GET", &path, b"").await.map(drop)
            });
            rate.set(rate.get() + turn.await? / f64::from(TURNS));
        }
    }
    let nobody = rates[0].get();
    for ((name, _), rate) in ways.iter().zip(rates.iter()) {
        report(name, rate.get(), "documents/s");
        report(&format!("{name}, share of nobody's"), rate.get() / nobody * 100.0, "%");
    }
    Ok(())
}

async fn cookie(target: &Target) -> Outcome<String> {
    let mut client = target.with("").connect().await?;
    let body = json!({"name": "load-0", "password": "pw"}).to_string();
    let answer = client.ok("POST", "/_session", body.as_bytes()).await?;
    answer.cookie.ok_or_else(|| "a log-in brought no cookie".into())
}

fn token() -> String {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let claims = json!({"sub": "load-0", "exp": 9_999_999_999u64}).to_string();
    let signed = format!("{}.{}", encode(r#"{"alg":"HS256"}"#), encode(&claims));
    let mac = Hmac::<Sha256>::new_from_slice(JWT_SECRET).map(|mac| mac.chain_update(&signed));
    let mac = mac.map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
}

//! `/_cluster_setup`: what installers and set-up pages of CouchDB ask for. There is one node, which is ready
//! from the start; what is left is an administrator, an address, and the system databases.

use std::sync::Arc;

use serde_json::json;
use settee_engine::json::{Object, Value};
use settee_engine::{Databases, Error, Props};

use super::{blocking, body, node};
use crate::app::App;
use crate::http::{Failure, Method, Outcome, Reply, Request};

/// Databases that are there when a node is set up, unless the request names others.
const SYSTEM_DATABASES: [&str; 2] = ["_users", "_replicator"];

/// Databases that one request may name, at most.
const MAX_DATABASES: usize = 100;

/// Any method.
pub(super) async fn answer(request: &mut Request) -> Outcome {
    match request.method {
        Method::Get => state(request).await,
        Method::Post => set_up(request).await,
        _ => Err(Failure::method_not_allowed("GET,POST")),
    }
}

/// GET: whether there is anything left to do.
async fn state(request: &Request) -> Outcome {
    let named = request.query.text("ensure_dbs_exist").map(|text| text.into_owned());
    let named = named.map(|text| Value::parse(text.as_bytes())).transpose()?;
    let names = databases(named.as_ref())?;
    let app = Arc::clone(&request.app);
    let is_done = app.settings().single_node
        || blocking::run(move || Ok(missing(app.databases(), names)?.is_empty())).await?;
    let state = if is_done { "single_node_enabled" } else { "single_node_disabled" };
    Ok(Reply::value(200, &json!({"state": state})))
}

/// POST: one action.
async fn set_up(request: &mut Request) -> Outcome {
    request.require_json_type()?;
    let members = body::object(&request.body.bytes().await?)
        .map_err(|_| Failure::bad_request("Missing JSON body'"))?;
    match members.get("action").and_then(Value::as_str) {
        Some("enable_single_node") => enable_single_node(request, &members).await?,
        Some("finish_cluster") => finish(request, &members).await?,
        // The secret by which the nodes of a cluster know each other: there are no others.
        Some("receive_cookie") => {}
        Some("enable_cluster") => {
            let reason = "This server is a single node, which is enabled already; \
                          there is no cluster it could be made a part of";
            return Err(Failure::bad_request(reason));
        }
        Some("add_node" | "remove_node") => {
            return Err(Failure::bad_request("Cluster is not enabled."));
        }
        // The quote is CouchDB's.
        _ => return Err(Failure::bad_request("Invalid Action'")),
    }
    Ok(Reply::ok(201))
}

/// Makes an administrator and says where to listen (from the next start on), as far as the request names them,
/// and makes the system databases.
async fn enable_single_node(request: &Request, members: &Object) -> Result<(), Failure> {
    let options = options(members)?;
    let names = databases(members.get("ensure_dbs_exist"))?;
    for (section, key, _) in &options {
        request.app.config().check_changeable(section, key).map_err(node::failure)?;
    }
    let app = Arc::clone(&request.app);
    blocking::run(move || {
        for (section, key, value) in &options {
            if let Err(error) = app.set_option(section, key, Some(value), true) {
                return Ok(Err(node::failure(error)));
            }
        }
        create(&app, missing(app.databases(), names)?).map(Ok)
    })
    .await?
}

/// Makes the system databases; refused if there is nothing to be made.
async fn finish(request: &Request, members: &Object) -> Result<(), Failure> {
    let names = databases(members.get("ensure_dbs_exist"))?;
    let app = Arc::clone(&request.app);
    blocking::run(move || {
        let missing = missing(app.databases(), names)?;
        if missing.is_empty() {
            return Ok(Err(Failure::bad_request("Cluster is already finished")));
        }
        create(&app, missing).map(Ok)
    })
    .await?
}

/// The options that are to be set: section, key and value.
fn options(members: &Object) -> Result<Vec<(&'static str, String, String)>, Failure> {
    let text = |name| members.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut options = Vec::new();
    let password = text("password_hash").or_else(|| text("password"));
    match (text("username"), password) {
        (Some(name), Some(password)) => options.push(("admins", name, password)),
        (None, None) => {}
        _ => return Err(Failure::bad_request("an administrator has a username and a password")),
    }
    if let Some(address) = text("bind_address") {
        options.push(("chttpd", "bind_address".to_owned(), address));
    }
    let port = members.get("port").map(|port| match port.as_str() {
        Some(port) => port.to_owned(),
        None => {
            let mut text = Vec::new();
            port.write(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        }
    });
    if let Some(port) = port {
        options.push(("chttpd", "port".to_owned(), port));
    }
    Ok(options)
}

/// The names of a JSON array, or else those of the system databases.
fn databases(named: Option<&Value>) -> Result<Vec<String>, Failure> {
    let Some(named) = named else { return Ok(SYSTEM_DATABASES.map(str::to_owned).to_vec()) };
    let names = body::strings(named).filter(|names| names.len() <= MAX_DATABASES);
    names.ok_or_else(|| Failure::bad_request("ensure_dbs_exist must be a list of names"))
}

/// Those that are not there.
fn missing(databases: &Databases, names: Vec<String>) -> settee_engine::Result<Vec<String>> {
    let mut missing = Vec::new();
    for name in names {
        if !databases.exists(&name)? {
            missing.push(name);
        }
    }
    Ok(missing)
}

fn create(app: &App, names: Vec<String>) -> settee_engine::Result<()> {
    for name in names {
        match app.databases().create(&name, Props::default()) {
            // Made by somebody else meanwhile, it is there all the same.
            Ok(_) | Err(Error::DatabaseExists) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

//! `/_session`: who am I, logging in, logging out.

use arc_swap::Guard;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};

use crate::auth::{User, client_address};
use crate::http::{Failure, Outcome, Query, Reply, Request};

/// GET.
pub(super) fn get(request: &Request) -> Outcome {
    if request.query.is_true("basic") && request.user().name().is_none() {
        return Err(Failure::unauthorized("Please login."));
    }
    let mut info = json!({"authentication_handlers": ["cookie", "default"]});
    if let Some(handler) = request.identity.handler {
        info["authenticated"] = json!(handler);
    }
    if let Some(database) = &request.app.settings().authentication_db {
        info["authentication_db"] = json!(database);
    }
    let user = json!({
        "name": request.user().name(),
        "roles": request.user().roles().collect::<Vec<_>>(),
    });
    Ok(Reply::value(200, &json!({"ok": true, "userCtx": user, "info": info})))
}

/// POST: logs in with a form or a JSON object.
pub(super) async fn post(request: &mut Request) -> Outcome {
    let (name, password) = credentials(request).await?;
    let client = client_address(&request.headers, request.peer.ip());
    let settings = Guard::into_inner(request.app.settings());
    match request.app.accounts().log_in(&name, &password, client, &settings).await {
        Ok(user) => logged_in(request, &user),
        Err(failure) => {
            if let Some(target) = redirect_target(request, "fail") {
                return Ok(redirect(&target).with_header(SET_COOKIE, request.set_cookie("")));
            }
            Err(failure.with_header(SET_COOKIE, request.set_cookie("")))
        }
    }
}

fn logged_in(request: &Request, user: &User) -> Outcome {
    let cookie = request.app.accounts().issue_cookie(user, &request.app.settings());
    let cookie = cookie.ok_or_else(|| Failure::internal("no cookie could be made"))?;
    let reply = match redirect_target(request, "next") {
        Some(target) => redirect(&target),
        None => {
            let roles: Vec<&str> = user.roles().collect();
            Reply::value(200, &json!({"ok": true, "name": user.name(), "roles": roles}))
        }
    };
    Ok(reply.with_header(SET_COOKIE, request.set_cookie(&cookie)))
}

/// DELETE: logs out.
pub(super) fn delete(request: &Request) -> Outcome {
    let reply = match redirect_target(request, "next") {
        Some(target) => redirect(&target),
        None => Reply::ok(200),
    };
    Ok(reply.with_header(SET_COOKIE, request.set_cookie("")))
}

/// A path on this server; anything else could be used to lead people astray.
fn redirect_target(request: &Request, parameter: &str) -> Option<String> {
    let target = request.query.text(parameter)?;
    let path = target.starts_with('/') && !target.starts_with("//") && !target.contains('\\');
    path.then(|| format!("{}{target}", request.base_uri()))
}

fn redirect(uri: &str) -> Reply {
    Reply::empty(StatusCode::FOUND.as_u16()).with_text_header(LOCATION, uri)
}

async fn credentials(request: &mut Request) -> Result<(String, String), Failure> {
    let kind = request.header(CONTENT_TYPE).and_then(|value| value.split(';').next());
    let form = match kind.map(str::trim) {
        Some("application/x-www-form-urlencoded") => true,
        Some("application/json") => false,
        _ => {
            return Err(Failure::bad_content_type(
                "Content-Type must be 'application/x-www-form-urlencoded' or 'application/json'",
            ));
        }
    };
    let body = request.body.bytes().await?;
    let given = if form { Given::form(&body)? } else { Given::json(&body)? };
    let name = match (given.name, given.username) {
        (Some(name), Some(username)) if name != username => {
            return Err(Failure::bad_request("request body contains different usernames"));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => {
            return Err(Failure::bad_request("request body must contain a username"));
        }
    };
    Ok((name, given.password.unwrap_or_default()))
}

struct Given {
    name: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

impl Given {
    fn form(body: &[u8]) -> Result<Self, Failure> {
        let form = Query::parse(&String::from_utf8_lossy(body))?;
        let text = |name| form.text(name).map(String::from);
        Ok(Self { name: text("name"), username: text("username"), password: text("password") })
    }

    fn json(body: &[u8]) -> Result<Self, Failure> {
        let value: Value = serde_json::from_slice(body).map_err(|_| Failure::invalid_json())?;
        if !value.is_object() {
            return Err(Failure::bad_request("Request body must be a JSON object"));
        }
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Self { name: text("name"), username: text("username"), password: text("password") })
    }
}

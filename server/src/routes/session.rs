//! `/_session`: who am I, logging in, logging out.

use arc_swap::Guard;
use http::StatusCode;
use http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};

use crate::auth::{Credentials, User};
use crate::http::{Failure, Outcome, Query, Reply, Request};

/// GET.
pub(super) fn get(request: &Request) -> Outcome {
    if request.query.is_true("basic") && request.user().name().is_none() {
        return Err(Failure::unauthorized("Please login."));
    }
    let settings = request.app.settings();
    let handlers = settings.accounts.handlers.iter().map(|handler| handler.name());
    let mut info = json!({"authentication_handlers": handlers.collect::<Vec<_>>()});
    if let Some(handler) = request.identity.handler {
        info["authenticated"] = json!(handler.name());
    }
    if let Some(database) = &settings.authentication_db {
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
    let given = Given::read(request).await?;
    let name = given.name()?;
    let client = request.client_address();
    let settings = Guard::into_inner(request.app.settings());
    let credentials = Credentials {
        name,
        password: given.password.as_deref().unwrap_or_default(),
        token: given.token.as_deref(),
    };
    match request.app.accounts().log_in(credentials, client, &settings).await {
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
    let cookie = request.app.accounts().issue_cookie(user, &request.app.settings())?;
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

/// What a log-in form or object holds.
struct Given {
    name: Option<String>,
    username: Option<String>,
    password: Option<String>,
    token: Option<String>,
}

impl Given {
    async fn read(request: &mut Request) -> Result<Self, Failure> {
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
        if form { Self::form(&body) } else { Self::json(&body) }
    }

    fn form(body: &[u8]) -> Result<Self, Failure> {
        let form = Query::parse(&String::from_utf8_lossy(body))?;
        Ok(Self::new(|name| form.text(name).map(String::from)))
    }

    fn json(body: &[u8]) -> Result<Self, Failure> {
        let value: Value = serde_json::from_slice(body).map_err(|_| Failure::invalid_json())?;
        if !value.is_object() {
            return Err(Failure::bad_request("Request body must be a JSON object"));
        }
        Ok(Self::new(|name| value.get(name).and_then(Value::as_str).map(str::to_owned)))
    }

    fn new(text: impl Fn(&str) -> Option<String>) -> Self {
        Self {
            name: text("name"),
            username: text("username"),
            password: text("password"),
            token: text("token"),
        }
    }

    fn name(&self) -> Result<&str, Failure> {
        match (&self.name, &self.username) {
            (Some(name), Some(username)) if name != username => {
                Err(Failure::bad_request("request body contains different usernames"))
            }
            (Some(name), _) | (None, Some(name)) => Ok(name),
            (None, None) => Err(Failure::bad_request("request body must contain a username")),
        }
    }
}

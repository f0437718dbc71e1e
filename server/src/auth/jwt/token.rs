//! A token: taking it apart, and what its claims must say.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::key::{Algorithm, Key, KeyKind};
use crate::config::JwtSettings;
use crate::http::Failure;

/// A token whose signature has not been looked at.
pub(super) struct Token<'t> {
    /// What is signed.
    signed: &'t str,
    signature: Vec<u8>,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    /// What it says it is signed by.
    pub(super) algorithm: Algorithm,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'t str) -> Result<Self, Failure> {
        let malformed = || Failure::bad_request("Malformed authentication token");
        let (signed, signature) = text.rsplit_once('.').ok_or_else(malformed)?;
        let (header, claims) = signed.split_once('.').ok_or_else(malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| malformed());
        let object = |part: &str| match serde_json::from_slice(&decode(part)?) {
            Ok(Value::Object(members)) => Ok(members),
            _ => Err(malformed()),
        };
        let (header, claims, signature) = (object(header)?, object(claims)?, decode(signature)?);
        let algorithm = algorithm(&header)?;
        // What must be understood to be safe is not understood here (RFC 7515, 4.1.11).
        if header.contains_key("crit") {
            return Err(Failure::bad_request("Invalid crit header parameter"));
        }
        Ok(Self { signed, signature, header, claims, algorithm })
    }

    /// The key it says it is signed with.
    pub(super) fn kid(&self) -> Option<&str> {
        self.header.get("kid")?.as_str()
    }

    /// Who it says has issued it.
    pub(super) fn issuer(&self) -> Option<&str> {
        self.claims.get("iss")?.as_str()
    }

    /// Checks the claims that are required, the times wherever they are given, and the audience if one is
    /// configured. A token of an OpenID Connect issuer must have an end.
    pub(super) fn check(
        &self,
        settings: &JwtSettings,
        of_issuer: bool,
        now: u64,
    ) -> Result<(), Failure> {
        for (claim, value) in &settings.required_claims {
            self.check_required(claim, value.as_deref())?;
        }
        if of_issuer {
            self.check_required("exp", None)?;
        }
        // Seconds since 1970 fit into 53 bits.
        let now = now as f64;
        if self.time("exp")?.is_some_and(|end| end <= now) {
            return Err(Failure::unauthorized("exp not in future"));
        }
        if self.time("nbf")?.is_some_and(|begin| begin > now) {
            return Err(Failure::unauthorized("nbf not in past"));
        }
        let audience = &settings.audience;
        if !audience.is_empty() && !audience.iter().any(|wanted| self.is_for(wanted)) {
            return Err(Failure::bad_request("Invalid aud claim"));
        }
        Ok(())
    }

    fn check_required(&self, claim: &str, value: Option<&str>) -> Result<(), Failure> {
        let (members, place, value) = match claim {
            "alg" => (&self.header, "header parameter", value),
            "typ" => (&self.header, "header parameter", value.or(Some("JWT"))),
            "kid" => (&self.header, "claim", value),
            _ => (&self.claims, "claim", value),
        };
        let found = members
            .get(claim)
            .ok_or_else(|| Failure::bad_request(format!("Missing {claim} {place}")))?;
        let invalid = || Failure::bad_request(format!("Invalid {claim} {place}"));
        let valid = match (claim, value) {
            ("aud", Some(value)) => self.is_for(value),
            ("iat", None) => found.is_i64() || found.is_u64(),
            (_, Some(value)) => found.as_str() == Some(value),
            (_, None) => true,
        };
        if valid { Ok(()) } else { Err(invalid()) }
    }

    /// A time in seconds since 1970.
    fn time(&self, claim: &str) -> Result<Option<f64>, Failure> {
        let Some(time) = self.claims.get(claim) else { return Ok(None) };
        let time = time.as_f64().filter(|time| time.is_finite());
        time.map(Some).ok_or_else(|| Failure::bad_request(format!("Invalid {claim} claim")))
    }

    /// Whether `aud`, a text or a list of texts, names this audience.
    fn is_for(&self, wanted: &str) -> bool {
        match self.claims.get("aud") {
            Some(Value::String(audience)) => audience == wanted,
            Some(Value::Array(all)) => all.iter().any(|one| one == wanted),
            _ => false,
        }
    }

    /// Checks that the token was signed with this key.
    pub(super) fn check_signature(&self, key: &Key) -> Result<(), Failure> {
        if key.verifies(self.algorithm, self.signed.as_bytes(), &self.signature) {
            return Ok(());
        }
        Err(Failure::bad_request(match self.algorithm.key_kind() {
            KeyKind::Hmac => "Bad HMAC in authentication token",
            _ => "Bad signature in authentication token",
        }))
    }

    /// The user it names.
    pub(super) fn subject(&self) -> Result<&str, Failure> {
        let subject = self.claims.get("sub").and_then(Value::as_str);
        let subject = subject.filter(|subject| !subject.is_empty());
        subject.ok_or_else(|| Failure::unauthorized("Token missing sub claim."))
    }

    /// The user's roles: a list of texts, or one text with commas; none if there is nothing at the path.
    pub(super) fn roles(&self, path: &[String]) -> Result<Vec<Arc<str>>, Failure> {
        let malformed = || Failure::bad_request("Malformed token");
        let mut path = path.iter();
        let mut found = path.next().and_then(|name| self.claims.get(name));
        for name in path {
            found = found.and_then(|object| object.get(name));
        }
        match found {
            None => Ok(Vec::new()),
            Some(Value::String(list)) => {
                let roles = list.split(',').map(str::trim).filter(|role| !role.is_empty());
                Ok(roles.map(Arc::from).collect())
            }
            Some(Value::Array(roles)) => {
                let role = |role: &Value| role.as_str().map(Arc::from).ok_or_else(malformed);
                roles.iter().map(role).collect()
            }
            Some(_) => Err(malformed()),
        }
    }
}

fn algorithm(header: &Map<String, Value>) -> Result<Algorithm, Failure> {
    let missing = || Failure::bad_request("Missing alg header parameter");
    let name = header.get("alg").ok_or_else(missing)?;
    let algorithm = name.as_str().and_then(Algorithm::parse);
    algorithm.ok_or_else(|| Failure::bad_request("Invalid alg header parameter"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    const NOW: u64 = 1_700_000_000;

    fn text(header: &str, claims: &str) -> String {
        let encode = |part: &str| URL_SAFE_NO_PAD.encode(part);
        format!("{}.{}.{}", encode(header), encode(claims), encode("signature"))
    }

    /// What becomes of a token with these claims, where these are required.
    fn check(required: &[(&str, Option<&str>)], claims: &str, expected: &str) {
        let mut settings = Settings::default().accounts.jwt;
        let owned =
            |(name, value): &(&str, Option<&str>)| ((*name).to_owned(), value.map(str::to_owned));
        settings.required_claims = required.iter().map(owned).collect();
        let text = text(r#"{"alg":"HS256"}"#, claims);
        let judged = Token::parse(&text).unwrap().check(&settings, false, NOW);
        let judged = judged.map_or_else(|failure| failure.to_string(), |()| "fine".to_owned());
        assert_eq!(judged, expected, "{claims}");
    }

    #[test]
    fn times_count_even_if_they_arent_asked_for() {
        for required in [&[][..], &[("exp", None)]] {
            check(required, r#"{"exp":1700000001}"#, "fine");
            check(required, r#"{"exp":1700000000}"#, "401 unauthorized: exp not in future");
            check(required, r#"{"exp":1700000000.5}"#, "fine");
            check(required, r#"{"exp":"soon"}"#, "400 bad_request: Invalid exp claim");
        }
        check(&[], r#"{"nbf":1700000001}"#, "401 unauthorized: nbf not in past");
        check(&[], r#"{"nbf":1700000000}"#, "fine");
        check(&[("exp", None)], "{}", "400 bad_request: Missing exp claim");
    }

    #[test]
    fn claims_with_a_value() {
        let required = [("iss", Some("me"))];
        check(&required, r#"{"iss":"me"}"#, "fine");
        check(&required, r#"{"iss":"you"}"#, "400 bad_request: Invalid iss claim");
        check(&required, "{}", "400 bad_request: Missing iss claim");
        check(&[("aud", Some("us"))], r#"{"aud":["them","us"]}"#, "fine");
        check(&[("aud", Some("us"))], r#"{"aud":"them"}"#, "400 bad_request: Invalid aud claim");
        check(&[("kid", None)], "{}", "400 bad_request: Missing kid claim");
        check(&[("typ", None)], "{}", "400 bad_request: Missing typ header parameter");
        check(&[("iat", None)], r#"{"iat":"x"}"#, "400 bad_request: Invalid iat claim");
    }

    #[test]
    fn an_issuers_token_must_end() {
        let settings =
            JwtSettings { required_claims: Vec::new(), ..Settings::default().accounts.jwt };
        let text = text(r#"{"alg":"RS256"}"#, "{}");
        let token = Token::parse(&text).unwrap();
        assert!(token.check(&settings, false, NOW).is_ok());
        assert!(token.check(&settings, true, NOW).is_err());
    }

    #[test]
    fn what_is_no_token() {
        let claims = r#"{"sub":"anna"}"#;
        for (text, expected) in [
            ("abc".to_owned(), "Malformed authentication token"),
            ("a.b.c".to_owned(), "Malformed authentication token"),
            (text("[]", claims), "Malformed authentication token"),
            (format!("{}.x", text(r#"{"alg":"HS256"}"#, claims)), "Malformed authentication token"),
            (text("{}", claims), "Missing alg header parameter"),
            (text(r#"{"alg":"none"}"#, claims), "Invalid alg header parameter"),
            (text(r#"{"alg":"None"}"#, claims), "Invalid alg header parameter"),
            (text(r#"{"alg":["HS256"]}"#, claims), "Invalid alg header parameter"),
            (text(r#"{"alg":"HS256","crit":["b64"]}"#, claims), "Invalid crit header parameter"),
        ] {
            let refusal = Token::parse(&text).err().unwrap();
            assert_eq!((refusal.status().as_u16(), refusal.reason()), (400, expected), "{text}");
        }
    }

    fn roles(claims: &str, path: &[&str]) -> Result<Vec<String>, String> {
        let text = text(r#"{"alg":"HS256"}"#, claims);
        let path: Vec<String> = path.iter().map(|&name| name.to_owned()).collect();
        let roles = Token::parse(&text).unwrap().roles(&path);
        let roles = roles.map(|roles| roles.iter().map(|role| role.to_string()).collect());
        roles.map_err(|failure| failure.reason().to_owned())
    }

    #[test]
    fn roles_of_all_shapes() {
        let both = Ok(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(roles(r#"{"_couchdb.roles":["a","b"]}"#, &["_couchdb.roles"]), both);
        assert_eq!(roles(r#"{"r":"a, b"}"#, &["r"]), both);
        assert_eq!(roles(r#"{"my":{"app":{"roles":["a","b"]}}}"#, &["my", "app", "roles"]), both);
        assert_eq!(roles(r#"{"my":5}"#, &["my", "app"]), Ok(vec![]));
        assert_eq!(roles(r#"{"r":[5]}"#, &["r"]), Err("Malformed token".to_owned()));
        assert_eq!(roles(r#"{"r":{}}"#, &["r"]), Err("Malformed token".to_owned()));
    }
}

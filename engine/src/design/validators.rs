//! The functions of a database that have to agree to each write of a document.

use std::sync::Arc;

use settee_storage::{Direction, KeyRange};

use super::{
    check::{JAVASCRIPT, QUERY},
    pool::Pool,
};
use crate::{
    all_docs::id_text,
    document::{DocHead, DocumentView, Summary},
    error::{Error, Result},
    find::Selector,
    javascript::{DesignFunction, FunctionSource, JsError, JsSettings, Validation},
    json::{Value, raw},
    name::DESIGN_PREFIX,
    read::Reader,
};

/// The validation functions of one state of a database.
#[derive(Debug)]
pub(crate) struct Validators {
    /// See [`super::DesignCache`].
    pub(super) version: u64,
    /// See [`Shared::javascript_epoch`](crate::shared::Shared::javascript_epoch).
    pub(super) epoch: u64,
    rules: Vec<Rule>,
    settings: Arc<JsSettings>,
}

/// What one design document says about writes.
#[derive(Debug)]
enum Rule {
    Function {
        name: String,
        text: String,
        design: Vec<u8>,
        pool: Arc<Pool>,
    },
    Selector(Selector),
    /// It is in a language nobody here speaks: nothing can be written.
    Unknown(String),
}

impl Validators {
    /// Reads all design documents of the reader's moment.
    pub(super) fn load(
        reader: &Reader,
        version: u64,
        epoch: u64,
        settings: Arc<JsSettings>,
    ) -> Result<Self> {
        let mut rules = Vec::new();
        let range = KeyRange::prefix(DESIGN_PREFIX.as_bytes());
        let mut cursor = reader.snapshot.docs(&range, Direction::Forward, false)?;
        while let Some(row) = cursor.next()? {
            let id = id_text(row.id)?;
            let winner = DocHead::decode(row.value)?.winner;
            if winner.deleted {
                continue;
            }
            let blob = reader.snapshot.blob(winner.body)?;
            let body = &*reader.body(&Summary::decode(&blob)?)?;
            if let Some(validation) = raw::member(body, "validate_doc_update") {
                let mut design = Vec::new();
                DocumentView::new(id, &winner.rev, body).write_json(&mut design);
                rules.push(Rule::new(id, &Value::from_canonical(validation)?, body, design)?);
            }
        }
        Ok(Validators { version, epoch, rules, settings })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Asks all functions.
    ///
    /// # Errors
    /// The first refusal, in the order of the design documents' ids.
    pub(crate) fn validate(&self, validation: Validation<'_>) -> Result<()> {
        self.rules.iter().try_for_each(|rule| rule.validate(&self.settings, validation))
    }
}

impl Rule {
    fn new(id: &str, validation: &Value, body: &[u8], design: Vec<u8>) -> Result<Self> {
        let language = raw::member(body, "language").map(Value::from_canonical).transpose()?;
        let language = language.as_ref().and_then(Value::as_str).unwrap_or(JAVASCRIPT);
        Ok(match (language, validation) {
            (QUERY, Value::Object(_)) => Rule::Selector(Selector::parse(validation)?),
            (JAVASCRIPT, Value::String(text)) => Rule::Function {
                name: format!("function 'validate_doc_update' of {id}"),
                text: text.clone(),
                design,
                pool: Arc::default(),
            },
            (other, _) => Rule::Unknown(other.to_owned()),
        })
    }

    fn validate(&self, settings: &JsSettings, validation: Validation<'_>) -> Result<()> {
        match self {
            Rule::Function { name, text, design, pool } => {
                let make = || DesignFunction::new(settings, design, FunctionSource { name, text });
                let validated = pool
                    .take(make)
                    .and_then(|mut pooled| pooled.run(|run| run.validate(validation)));
                validated.map_err(refusal)
            }
            Rule::Selector(selector) => {
                let Validation { new, old, .. } = validation;
                let both = [br#"{"newDoc":"#, new, br#","oldDoc":"#, old, b"}"].concat();
                match selector.matches(&both) {
                    true => Ok(()),
                    false => Err(Error::Forbidden("document is not valid".into())),
                }
            }
            Rule::Unknown(language) => Err(JsError::UnknownLanguage(language.clone()).into()),
        }
    }
}

/// The refusal that a function means by what it throws.
fn refusal(error: JsError) -> Error {
    match error {
        JsError::Thrown { error, reason } if error == "forbidden" => Error::Forbidden(reason),
        JsError::Thrown { error, reason } if error == "unauthorized" => Error::Unauthorized(reason),
        other => Error::JavaScript(other),
    }
}

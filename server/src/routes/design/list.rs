//! `/{db}/_design/{name}/_list/{function}/[{other design document}/]{view}`: the rows of a view as
//! something else.
//!
//! Three threads take part in an answer: one reads rows, one runs the function, and the connection
//! takes what it writes. Between each two of them lies a short queue.

use std::ops::ControlFlow;
use std::sync::{Arc, mpsc};
use std::thread;

use parking_lot::Mutex;
use settee_engine::javascript::{JsError, ListEnds};
use settee_engine::json::{Object, Value};
use settee_engine::view::{ViewHead, ViewSink};
use settee_engine::{
    AllDocsHead, AllDocsQuery, Database, DesignDocument, Error, Namespace, Reader, RowSink,
};

use super::{request_object, response::Response, show};
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Method, Outcome, Request};
use crate::routes::{all_docs, body, view};

/// Rows read ahead of the function.
const ROWS_AHEAD: usize = 64;

/// Any method on a list function.
pub(super) async fn answer(
    request: &mut Request,
    database: &Arc<Database>,
    design: Arc<DesignDocument>,
    rest: &[&[u8]],
) -> Outcome {
    let (name, view_design, view) = match rest {
        [name, view] => (name, design.id().to_owned(), view),
        [name, other, view] => (name, format!("_design/{}", String::from_utf8_lossy(other)), view),
        _ => return Err(show::invalid_path("list_error")),
    };
    let name = String::from_utf8_lossy(name).into_owned();
    let sent = request.body.bytes().await?;
    let members = match request.method {
        Method::Get => Object::new(),
        Method::Post if sent.is_empty() => Object::new(),
        Method::Post => body::object(&sent)?,
        _ => return Err(Failure::method_not_allowed("GET,POST,HEAD")),
    };
    design.source(&["lists", &name])?;
    let rows = rows(request, database, &view_design, view, &members).await?;
    let req = request_object::build(request, database, None, &sent)?;
    let run = Run { design, name, req, rows };
    let begun = Arc::new(Mutex::new(None));
    let begins = Arc::clone(&begun);
    let body = stream::produce_owned(move |out| run.run(out, begins)).await?;
    let head = begun.lock().take().unwrap_or_else(|| "{}".to_owned());
    Response::read(&Value::from_canonical(head.as_bytes())?)?.into_reply_with(request, 200, body)
}

/// Sends rows to the function, from one moment of the database.
type Rows = Box<dyn FnOnce(&mut Sender) -> Result<(), Error> + Send>;

/// The rows that the request asks for.
async fn rows(
    request: &Request,
    database: &Arc<Database>,
    view_design: &str,
    view: &[u8],
    members: &Object,
) -> Result<Rows, Failure> {
    if view != b"_all_docs" {
        let rows = view::rows(request, database, view_design, view, members).await?;
        return Ok(Box::new(move |sender| rows(sender)));
    }
    let query: AllDocsQuery = all_docs::query(request, members, Namespace::All)?;
    let reader: Reader = database.read()?;
    Ok(Box::new(move |sender| reader.all_docs(&query, sender)))
}

/// What comes from the thread that reads rows.
enum Piece {
    Head(Vec<u8>),
    Row(String),
    Failed(Error),
}

/// Sends rows to the function.
struct Sender(mpsc::SyncSender<Piece>);

impl Sender {
    fn send(&self, piece: Piece) -> ControlFlow<()> {
        match self.0.send(piece) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

impl RowSink for Sender {
    fn head(&mut self, head: &AllDocsHead) -> ControlFlow<()> {
        let number = |number: Option<u64>| number.map_or(Value::Null, Value::from);
        let mut members = Object::new();
        members.insert("total_rows", number(head.total_rows));
        members.insert("offset", number(head.offset));
        self.send(Piece::Head(Value::from(members).to_json()))
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        self.send(Piece::Row(String::from_utf8_lossy(json).into_owned()))
    }
}

impl ViewSink for Sender {
    fn head(&mut self, head: &ViewHead) -> ControlFlow<()> {
        let mut members = Object::new();
        if let Some((total_rows, offset)) = head.counts {
            members.insert("total_rows", total_rows);
            members.insert("offset", offset);
        }
        self.send(Piece::Head(Value::from(members).to_json()))
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        RowSink::row(self, json)
    }
}

/// One list on its way.
struct Run {
    design: Arc<DesignDocument>,
    name: String,
    req: Vec<u8>,
    rows: Rows,
}

impl Run {
    /// Runs to the end of the answer. `begins` takes what the function says of status and headers.
    fn run(self, out: BlockingWriter, begins: Arc<Mutex<Option<String>>>) {
        let (sender, pieces) = mpsc::sync_channel(ROWS_AHEAD);
        let rows = self.rows;
        let reads = thread::Builder::new().name("list rows".to_owned()).spawn(move || {
            let mut sender = Sender(sender);
            if let Err(error) = rows(&mut sender) {
                // The function may have ended before the rows.
                let _ = sender.send(Piece::Failed(error));
            }
        });
        let out = Arc::new(Mutex::new(out));
        let ends = Ends { pieces, out: Arc::clone(&out), begins: Arc::clone(&begins) };
        let result = match reads {
            Ok(_) => ends.list(&self.design, &self.name, &self.req),
            Err(error) => Err(Failure::internal(format!("no thread to read rows: {error}"))),
        };
        let Some(mut out) = Arc::into_inner(out).map(Mutex::into_inner) else { return };
        let begun = begins.lock().is_some();
        let result = match result {
            // The status is out: all that is left is to say it in the text.
            Err(failure) if begun => {
                // Whether the client is still there shows when the answer ends.
                let _ = out.put(failure.to_json().as_bytes());
                Ok(())
            }
            other => other,
        };
        out.finish(result);
    }
}

/// The ends of a list function.
struct Ends {
    pieces: mpsc::Receiver<Piece>,
    out: Arc<Mutex<BlockingWriter>>,
    begins: Arc<Mutex<Option<String>>>,
}

impl Ends {
    fn list(self, design: &DesignDocument, name: &str, req: &[u8]) -> Result<(), Failure> {
        let head = match self.pieces.recv() {
            Ok(Piece::Head(head)) => head,
            Ok(Piece::Failed(error)) => return Err(error.into()),
            Ok(Piece::Row(_)) | Err(_) => return Err(Failure::internal("the rows have no head")),
        };
        Ok(design.list(name, &head, req, Box::new(self))?)
    }
}

impl ListEnds for Ends {
    fn begin(&mut self, response: &str) {
        // The text may hold numbers in spellings that the engine does not use.
        let canonical = settee_engine::json::minify(response.as_bytes()).unwrap_or_default();
        *self.begins.lock() = String::from_utf8(canonical).ok();
    }

    fn chunk(&mut self, text: &str) -> Result<(), JsError> {
        self.out.lock().put(text.as_bytes()).map_err(|gone| JsError::Thrown {
            error: "disconnected".to_owned(),
            reason: gone.to_string(),
        })
    }

    fn next(&mut self) -> Result<Option<String>, JsError> {
        match self.pieces.recv() {
            Ok(Piece::Row(row)) => Ok(Some(row)),
            Ok(Piece::Failed(error)) => {
                let failure = Failure::from(error);
                let (error, reason) = (failure.error().to_owned(), failure.reason().to_owned());
                Err(JsError::Thrown { error, reason })
            }
            Ok(Piece::Head(_)) | Err(_) => Ok(None),
        }
    }
}

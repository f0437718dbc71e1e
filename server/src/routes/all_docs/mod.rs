//! `/{db}/_all_docs`, `_design_docs`, `_local_docs`, and several listings in one request.

pub(super) mod params;

use std::ops::ControlFlow;
use std::sync::Arc;

use settee_engine::json::{Object, Value};
use settee_engine::{AllDocsHead, AllDocsQuery, Database, Namespace, Reader, RowSink};

use self::params::Params;
use super::body;
use crate::http::stream::{self, BlockingWriter};
use crate::http::{Failure, Outcome, Reply, Request};

/// GET of a listing.
pub(crate) async fn get(
    request: &mut Request,
    database: &Arc<Database>,
    namespace: Namespace,
) -> Outcome {
    let params = Params::default().with_query(&request.query)?;
    one(request, database, namespace, params).await
}

/// POST of a listing: the body holds `keys`, and any other parameter.
pub(crate) async fn post(
    request: &mut Request,
    database: &Arc<Database>,
    namespace: Namespace,
) -> Outcome {
    let members = body::typed_object(request).await?;
    let params = Params::default().with_members(&members)?.with_query(&request.query)?;
    one(request, database, namespace, params).await
}

/// A listing of one partition; `body` is that of a POST.
pub(crate) async fn in_partition(
    request: &mut Request,
    database: &Arc<Database>,
    partition: &str,
    body: Option<&Object>,
) -> Outcome {
    let none = Object::new();
    let params = Params::default().with_members(body.unwrap_or(&none))?;
    let mut params = params.with_query(&request.query)?;
    if params.partition.as_deref().is_some_and(|given| given != partition) {
        return Err(Failure::bad_request("Conflicting value for `partition` in query string"));
    }
    params.partition = Some(partition.to_owned());
    one(request, database, Namespace::All, params).await
}

/// POST `…/queries`: one listing for each member of `queries`, the query string giving defaults.
pub(crate) async fn queries(
    request: &mut Request,
    database: &Arc<Database>,
    namespace: Namespace,
) -> Outcome {
    let members = body::object(&request.body.bytes().await?)?;
    let queries = match members.get("queries") {
        Some(Value::Array(queries)) => queries,
        Some(_) => return Err(Failure::bad_request("`queries` member must be an array.")),
        None => {
            return Err(Failure::bad_request("POST body must include `queries` parameter."));
        }
    };
    let defaults = Params::default().with_query(&request.query)?;
    let mut listings = Vec::with_capacity(queries.len());
    for query in queries {
        let Value::Object(members) = query else {
            return Err(Failure::bad_request("each query must be a JSON object"));
        };
        let params = defaults.clone().with_members(members)?;
        listings.push(Listing::new(database, namespace, params)?);
    }
    let reader = database.read_as(request.user().caller())?;
    stream(request, move |out| several(&reader, &listings, out)).await
}

/// The listing that a query string and the members of a body ask for.
pub(super) fn query(
    request: &Request,
    members: &Object,
    namespace: Namespace,
) -> Result<AllDocsQuery, Failure> {
    let params = Params::default().with_members(members)?;
    params.with_query(&request.query)?.into_query(namespace)
}

async fn one(
    request: &Request,
    database: &Arc<Database>,
    namespace: Namespace,
    params: Params,
) -> Outcome {
    let listing = Listing::new(database, namespace, params)?;
    let reader = database.read_as(request.user().caller())?;
    let produce = move |out: &mut BlockingWriter| {
        listing.write(&reader, out)?;
        out.buffer().push(b'\n');
        Ok(())
    };
    stream(request, produce).await
}

async fn stream(
    request: &Request,
    produce: impl FnOnce(&mut BlockingWriter) -> Result<(), Failure> + Send + 'static,
) -> Outcome {
    let body = match request.wants_buffered() {
        true => stream::produce_buffered(produce).await?,
        false => stream::produce(produce).await?,
    };
    Ok(Reply::json_stream(body))
}

fn several(reader: &Reader, listings: &[Listing], out: &mut BlockingWriter) -> Result<(), Failure> {
    out.buffer().extend_from_slice(b"{\"results\":[\r\n");
    for (position, listing) in listings.iter().enumerate() {
        if position > 0 {
            out.buffer().extend_from_slice(b",\r\n");
        }
        listing.write(reader, out)?;
    }
    out.buffer().extend_from_slice(b"\r\n]}\n");
    Ok(())
}

/// One listing, ready to be written.
struct Listing {
    query: AllDocsQuery,
    update_seq: bool,
}

impl Listing {
    fn new(
        database: &Arc<Database>,
        namespace: Namespace,
        params: Params,
    ) -> Result<Self, Failure> {
        if params.partition.is_some() && !database.props().partitioned {
            return Err(Failure::query_parse_error(
                "`partition` parameter is not supported on this db",
            ));
        }
        let update_seq = params.update_seq;
        Ok(Self { query: params.into_query(namespace)?, update_seq })
    }

    fn write(&self, reader: &Reader, out: &mut BlockingWriter) -> Result<(), Failure> {
        let mut rows = Rows { reader, update_seq: self.update_seq, out, first: true };
        reader.all_docs(&self.query, &mut rows)?;
        out.buffer().extend_from_slice(b"\r\n]}");
        Ok(())
    }
}

/// Rows of a listing, on their way to a client.
struct Rows<'r> {
    reader: &'r Reader,
    update_seq: bool,
    out: &'r mut BlockingWriter,
    first: bool,
}

impl RowSink for Rows<'_> {
    fn head(&mut self, head: &AllDocsHead) -> ControlFlow<()> {
        let number = |number: Option<u64>| number.map_or("null".to_owned(), |n| n.to_string());
        let mut text = format!(
            "{{\"total_rows\":{},\"offset\":{},",
            number(head.total_rows),
            number(head.offset)
        );
        if self.update_seq {
            // A list of keys is no walk through the index, so it is at no sequence.
            text += &match head.offset {
                Some(_) => {
                    let seq = self.reader.database().sequence_text(head.update_seq);
                    format!("\"update_seq\":\"{seq}\",")
                }
                None => "\"update_seq\":null,".to_owned(),
            };
        }
        text += "\"rows\":[\r\n";
        self.out.buffer().extend_from_slice(text.as_bytes());
        ControlFlow::Continue(())
    }

    fn row(&mut self, json: &[u8]) -> ControlFlow<()> {
        let buffer = self.out.buffer();
        if !std::mem::take(&mut self.first) {
            buffer.extend_from_slice(b",\r\n");
        }
        buffer.extend_from_slice(json);
        match self.out.spill() {
            Ok(()) => ControlFlow::Continue(()),
            Err(_gone) => ControlFlow::Break(()),
        }
    }
}

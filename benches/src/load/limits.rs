//! What the machine can do without a database: the figures that the others are held against.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::{Outcome, report};

/// Bytes that one durable write of a 500-byte document comes to, with its index entries.
const RECORD_BYTES: usize = 700;
const PREPARED_BYTES: usize = 64 * 1024 * 1024;

/// Appends and syncs records one at a time, at the end of a file and into space prepared with zeros.
pub(crate) fn disk(duration: Duration) -> Outcome<()> {
    for (name, prepared) in [("bare append + fdatasync", 0), ("bare write into zeros + fdatasync", PREPARED_BYTES)] {
        let folder = tempfile::tempdir_in(".")?;
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(folder.path().join("file"))?;
        file.write_all_at(&vec![0; prepared], 0)?;
        file.sync_all()?;
        let record = [7; RECORD_BYTES];
        let (start, mut count) = (Instant::now(), 0u64);
        while start.elapsed() < duration {
            file.write_all_at(&record, count * RECORD_BYTES as u64)?;
            file.sync_data()?;
            count += 1;
        }
        report(name, count as f64 / start.elapsed().as_secs_f64(), "writes/s");
    }
    Ok(())
}

/// Serves `body` to every request on a free port, on two threads as a server would; returns the address.
pub(crate) fn hyper_server(body: Vec<u8>) -> Outcome<String> {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || -> Outcome<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            tell.send(listener.local_addr()?.to_string())?;
            let body = Bytes::from(body);
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let body = body.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |_| {
                        let answer = Response::builder()
                            .header(header::CONTENT_TYPE, "application/json")
                            .header(header::CACHE_CONTROL, "must-revalidate")
                            .body(Full::new(body.clone()));
                        async move { answer }
                    });
                    let _ = http1::Builder::new()
                        .pipeline_flush(true)
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        })
    });
    Ok(told.recv()?)
}

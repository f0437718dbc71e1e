//! The database inside a program of one's own: no server, no runtime.
//!
//! `cargo run -p settee-engine --example embed -- /tmp/animals`

use std::{env, ops::ControlFlow, sync::Arc};

use settee_engine::{
    ChangeRow, ChangesQuery, Databases, Document, Options, Props, WriteMode, document::Limits,
};
use settee_storage::disk::RealDisk;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = env::args().nth(1).unwrap_or_else(|| "embedded-data".into());
    let databases = Databases::open(Arc::new(RealDisk), folder, Options::default())?;
    let animals = match databases.exists("animals")? {
        true => databases.get("animals")?,
        false => databases.create("animals", Props::default())?,
    };

    let cat = Document::parse(br#"{"legs": 4, "says": "meow"}"#, Some("cat"), &Limits::default())?;
    for outcome in animals.write(vec![cat], WriteMode::Interactive)? {
        match outcome {
            Ok(rev) => println!("written as {rev}, durably"),
            Err(error) => println!("not written: {error}"),
        }
    }

    println!("all changes so far:");
    animals.read()?.changes(
        &ChangesQuery { include_docs: true, ..Default::default() },
        &mut |row: ChangeRow<'_>| {
            println!("{}", String::from_utf8_lossy(row.json));
            ControlFlow::Continue(())
        },
    )?;
    databases.close()?;
    Ok(())
}

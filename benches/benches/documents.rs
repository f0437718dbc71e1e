//! What the pure parts of the engine do per second on one core: reading JSON, hashing, revision trees,
//! selectors. No disk, and on Linux the time of the processor is counted, so that a busy machine does
//! not change the figures much.
//!
//! `cargo bench -p settee-benches --bench documents`. One run, figures to the terminal; `ONLY=name`
//! runs one measure.

use std::{
    error::Error,
    fmt::Write as _,
    fs,
    hint::black_box,
    time::{Duration, Instant},
};

use settee_engine::{
    Document, Rev, RevId, RevTree,
    attachment::digest,
    document::{Body, DocumentView, Limits, parse_bulk},
    find::Selector,
    javascript::{FunctionSource, JsSettings, Mapper},
    json::{Value, minify},
    revision::revision_id,
    revtree::Stored,
};
use settee_storage::BlobRef;

type Outcome = Result<(), Box<dyn Error>>;

/// How long each figure is measured.
const TIME: Duration = Duration::from_millis(1000);

type Measure = fn() -> Outcome;

const MEASURES: &[(&str, Measure)] = &[
    ("scanner", scanner),
    ("document", document),
    ("bulk", bulk),
    ("splice", splice),
    ("revtree", revtree),
    ("selector", selector),
    ("maps", maps),
];

fn main() -> Outcome {
    let wanted = std::env::var("ONLY").unwrap_or_default();
    for (name, measure) in MEASURES {
        if name.contains(&wanted) {
            measure()?;
        }
    }
    Ok(())
}

/// Runs `work` for [`TIME`] and prints how often per second it ran, and what that is in MB/s.
fn report(name: &str, per_run: u64, bytes: usize, mut work: impl FnMut() -> Outcome) -> Outcome {
    work()?;
    let (start, busy) = (Instant::now(), processor_time());
    let mut runs = 0u64;
    while start.elapsed() < TIME {
        for _ in 0..16 {
            work()?;
        }
        runs += 16;
    }
    let seconds =
        busy.map_or(start.elapsed(), |busy| processor_time().unwrap_or(busy) - busy).as_secs_f64();
    let rate = (runs * per_run) as f64 / seconds;
    let speed = (runs * bytes as u64) as f64 / seconds / 1e6;
    println!("{name:<44} {rate:>12.0}/s {:>9.2} µs {speed:>8.0} MB/s", 1e6 / rate);
    Ok(())
}

/// How long this thread has had a processor, where the system tells.
fn processor_time() -> Option<Duration> {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    stat.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// About 500 bytes of JSON with what documents are made of.
fn json(number: u64) -> String {
    let mut json = format!(
        r#"{{"_id":"doc{number:08}","_rev":"1-967a00dff5e02add41819138abb3284d","name":"Document {number}","number":{number},"price":{}.25,"active":true,"tags":["a","b","c"],"#,
        number % 1000
    );
    let _ = write!(
        json,
        r#""address":{{"street":"Some Street {number}","city":"Zürich","zip":"8000"}},"text":"{}"}}"#,
        "lorem ipsum dolor sit amet ".repeat(9)
    );
    json
}

fn scanner() -> Outcome {
    let small = json(1);
    report("scan, 500 bytes", 1, small.len(), || {
        black_box(minify(black_box(small.as_bytes()))?);
        Ok(())
    })?;
    let list = format!("[{}]", (0..1000).map(json).collect::<Vec<_>>().join(","));
    report("scan, 500 kB", 1, list.len(), || {
        black_box(minify(black_box(list.as_bytes()))?);
        Ok(())
    })?;
    let pretty = list.replace(',', ",\n    ").replace(':', ": ");
    report("scan, 600 kB with blanks", 1, pretty.len(), || {
        black_box(minify(black_box(pretty.as_bytes()))?);
        Ok(())
    })?;
    let numbers: Vec<_> = (0..20_000).map(|n| format!("{}", f64::from(n) * 1.1)).collect();
    let numbers = format!("[{}]", numbers.join(","));
    report("scan, 20 000 numbers", 1, numbers.len(), || {
        black_box(minify(black_box(numbers.as_bytes()))?);
        Ok(())
    })
}

fn document() -> Outcome {
    let json = json(1);
    let limits = Limits::default();
    report("document: parse", 1, json.len(), || {
        black_box(Document::parse(black_box(json.as_bytes()), None, &limits)?);
        Ok(())
    })?;
    let body = Document::parse(json.as_bytes(), None, &limits)?.body;
    let parent = Rev::parse(b"1-967a00dff5e02add41819138abb3284d")?;
    report("document: revision id", 1, body.as_bytes().len(), || {
        black_box(revision_id(false, Some(&parent), black_box(&body), &[]));
        Ok(())
    })?;
    report("  of which MD5 of as many bytes", 1, body.as_bytes().len(), || {
        black_box(digest::md5(black_box(body.as_bytes())));
        Ok(())
    })?;
    report("document: parse and revision id", 1, json.len(), || {
        let document = Document::parse(black_box(json.as_bytes()), None, &limits)?;
        black_box(revision_id(false, document.rev.as_ref(), &document.body, &[]));
        Ok(())
    })
}

fn bulk() -> Outcome {
    let docs: Vec<_> = (0..1000).map(json).collect();
    let json = format!("{{\"docs\":[{}]}}", docs.join(","));
    let limits = Limits::default();
    report("bulk of 1000: parse", 1000, json.len(), || {
        black_box(parse_bulk(black_box(json.as_bytes()), &limits)?);
        Ok(())
    })?;
    report("bulk of 1000: parse and revision ids", 1000, json.len(), || {
        for document in parse_bulk(black_box(json.as_bytes()), &limits)?.docs {
            black_box(revision_id(false, document.rev.as_ref(), &document.body, &[]));
        }
        Ok(())
    })
}

fn splice() -> Outcome {
    let body = Document::parse(json(1).as_bytes(), None, &Limits::default())?.body;
    let rev = Rev::new(1, RevId::Hash(revision_id(false, None, &Body::empty(), &[])));
    let mut out = Vec::new();
    report("document: write", 1, body.as_bytes().len(), || {
        out.clear();
        DocumentView::new("doc00000001", &rev, black_box(body.as_bytes())).write_json(&mut out);
        black_box(&out);
        Ok(())
    })
}

fn hash(n: u64) -> RevId {
    RevId::from_bytes(&u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes())
}

fn revtree() -> Outcome {
    let body = BlobRef { offset: 1 << 20, len: 500, crc: 7 };
    let stored = Stored { deleted: false, body, seq: 9, active_bytes: 500, external_bytes: 500 };
    for generations in [1, 10, 1000] {
        let mut tree = RevTree::new();
        let mut tip = tree.merge(1, &[hash(1)], stored).node();
        for generation in 2..=generations {
            tip = tree.add_child(tip, hash(generation), stored).node();
        }
        tree.forget_old_bodies();
        let mut encoded = Vec::new();
        tree.encode(&mut encoded);
        report(
            &format!("revision tree of {generations}: read, edit, stem, write"),
            1,
            encoded.len(),
            || {
                let mut tree = RevTree::decode(black_box(&encoded))?;
                if let Some(tip) = tree.winner() {
                    tree.add_child(tip, hash(generations + 1), stored);
                }
                tree.stem(1000);
                tree.forget_old_bodies();
                let mut out = Vec::with_capacity(encoded.len() + 64);
                tree.encode(&mut out);
                black_box(out);
                Ok(())
            },
        )?;
    }
    Ok(())
}

fn selector() -> Outcome {
    let document = json(1).replacen("_rev\":\"1-", "_rev\":\"2-", 1);
    let cases = [
        ("selector: number at the front", r#"{"number":{"$gt":7}}"#),
        (
            "selector: three conditions",
            r#"{"active":true,"address.city":"Bern","number":{"$lt":5}}"#,
        ),
        ("selector: $regex", r#"{"text":{"$regex":"dolor x"}}"#),
    ];
    for (name, json) in cases {
        let selector = Selector::parse(&Value::parse(json.as_bytes())?)?;
        report(name, 1, document.len(), || {
            black_box(selector.matches(black_box(document.as_bytes())));
            Ok(())
        })?;
    }
    Ok(())
}

/// Map functions as they are written: one that looks at a few members, one with a condition and a loop, one
/// that needs the interpreter for a method, one that looks at everything.
const MAPS: [(&str, &str); 4] = [
    ("two members", "function(doc) { if (doc.active === true) emit(doc.name, doc.price) }"),
    (
        "loop",
        "function(doc) { if (doc.tags && doc.price > 0) for (var i = 0; i < doc.tags.length; i++) \
         emit([doc.tags[i], doc.name], null) }",
    ),
    ("method", "function(doc) { emit(doc.name.toLowerCase(), doc.price) }"),
    ("all members", "function(doc) { for (var k in doc) if (k === 'price') emit(doc[k], k) }"),
];

/// What map functions cost, with and without what they can be spared.
fn maps() -> Outcome {
    let docs: Vec<_> =
        (1..1001).map(|number| minify(json(number).as_bytes())).collect::<Result<_, _>>()?;
    let bytes: usize = docs.iter().map(Vec::len).sum();
    for (function, text) in MAPS {
        for (way, projects, simple_maps) in
            [("interpreter", false, false), ("projected", true, false), ("spared", true, true)]
        {
            let settings = JsSettings { projects, simple_maps, ..JsSettings::default() };
            let source = FunctionSource { name: function, text };
            let mut mapper = Mapper::new(&settings, None, &[source])?;
            report(&format!("map, {function}, {way}"), docs.len() as u64, bytes, || {
                let mut rows = 0u64;
                for doc in &docs {
                    mapper.map(doc, &mut |_, _, _| rows += 1)?;
                }
                black_box(rows);
                Ok(())
            })?;
        }
    }
    Ok(())
}

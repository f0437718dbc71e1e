//! What the benches and the load tool have in common.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// A new folder in the one that the command line names, or where the system keeps temporary files: it decides
/// which disk is measured.
///
/// # Errors
/// Those of making it.
pub fn folder() -> io::Result<TempDir> {
    let place = std::env::args().skip(1).find(|arg| !arg.starts_with("--"));
    tempfile::tempdir_in(place.map_or_else(std::env::temp_dir, PathBuf::from))
}

/// A measure: its name, and what takes it at a path of its own.
pub type Measure<E> = (&'static str, fn(&Path) -> Result<(), E>);

/// Takes those of the measures whose name contains what `ONLY` says, each in a path of its own.
///
/// # Errors
/// Those of the measures.
///
/// # Panics
/// If there is no folder to measure in.
pub fn measure_all<E>(measures: &[Measure<E>]) -> Result<(), E> {
    let folder = folder().expect("a folder to measure in");
    let wanted = std::env::var("ONLY").unwrap_or_default();
    let mut wanted = measures.iter().filter(|(name, _)| name.contains(&wanted));
    wanted.try_for_each(|(name, measure)| measure(&folder.path().join(name)))
}

/// Appends the members of an order: 407 bytes of JSON on average with the braces around them. Orders are
/// alike as documents of one application are: the same members, some of them with the same values.
pub fn order(out: &mut String, n: usize) {
    let _ = write!(
        out,
        "\"type\":\"order\",\"number\":{n},\"price\":{}.25,\"paid\":{},\"customer\":{{\"name\":\"Customer {}\",\
         \"street\":\"{} Harbour Road\",\"city\":\"Reykjav\u{ed}k\",\"tags\":[\"regular\",\"mail\",\"{}\"]}},\
         \"lines\":[{{\"sku\":\"A-{:05}\",\"count\":{},\"text\":\"Blue ceramic mug, dishwasher safe\"}},\
         {{\"sku\":\"B-{:05}\",\"count\":{},\"text\":\"Linen tea towel, striped, 50 x 70 cm\"}}],\
         \"note\":\"Please ring twice and leave the parcel with the neighbour on the left.\"",
        n % 900,
        n.is_multiple_of(2),
        n % 5000,
        n % 300,
        n % 17,
        n % 100_000,
        n % 9,
        n * 7 % 100_000,
        n % 4,
    );
}

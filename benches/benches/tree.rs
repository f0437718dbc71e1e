//! The B+tree by itself, nodes in memory: points, ranges, sums, building and merging.
//!
//! `cargo bench -p settee-benches --bench tree`

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use settee_storage::{
    Direction, KeyRange,
    tree::{CountEntries, NodeBuffer, Root, Tree, build, merge},
};

const ENTRIES: u64 = 1_000_000;
const VALUE_BYTES: usize = 80;

/// A small generator of random numbers (splitmix64).
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn numbered(number: u64) -> Vec<u8> {
    format!("document-{number:08}").into_bytes()
}

/// As long as a UUID in hexadecimal, and as random.
fn scattered(number: u64) -> Vec<u8> {
    let mut state = number;
    format!("{:016x}{:016x}", random(&mut state), random(&mut state)).into_bytes()
}

fn sorted_keys(key: fn(u64) -> Vec<u8>) -> Vec<Vec<u8>> {
    let mut keys: Vec<_> = (0..ENTRIES).map(key).collect();
    keys.sort_unstable();
    keys
}

fn built(keys: &[Vec<u8>]) -> (NodeBuffer, Root) {
    let mut nodes = NodeBuffer::default();
    let value = [7; VALUE_BYTES];
    let root = build(keys.iter().map(|key| (key, value)), CountEntries, &mut nodes)
        .expect("sorted entries");
    (nodes, root)
}

fn read(criterion: &mut Criterion, name: &str, key: fn(u64) -> Vec<u8>) {
    let (nodes, root) = built(&sorted_keys(key));
    let tree = Tree::new(&nodes, root, CountEntries);
    println!("{name}: {} MiB, height {}", nodes.len() >> 20, root.height);
    let mut group = criterion.benchmark_group(name);
    let mut state = 1;
    // Of 1000 keys the nodes stay in the processor's caches; of a million they do not.
    for spread in [1000, ENTRIES] {
        group.bench_function(format!("get one of {spread}"), |bencher| {
            bencher.iter_batched(
                || key(random(&mut state) % spread),
                |key| tree.get(&key).expect("a sound tree").map(|value| black_box(value[0])),
                BatchSize::LargeInput,
            );
        });
    }
    group.bench_function("sum of a random range", |bencher| {
        bencher.iter_batched(
            || KeyRange {
                start: std::ops::Bound::Included(key(random(&mut state) % ENTRIES)),
                end: std::ops::Bound::Unbounded,
            },
            |range| black_box(tree.sum(&range).expect("a sound tree")),
            BatchSize::LargeInput,
        );
    });
    group.throughput(Throughput::Elements(ENTRIES)).sample_size(10);
    for direction in [Direction::Forward, Direction::Backward] {
        group.bench_function(format!("walk all, {direction:?}"), |bencher| {
            bencher.iter(|| {
                let mut cursor = tree.cursor(&KeyRange::all(), direction);
                let mut bytes = 0;
                while let Some((key, value)) = cursor.next().expect("a sound tree") {
                    bytes += key.len() + value.len();
                }
                bytes
            });
        });
    }
    group.finish();
}

fn write(criterion: &mut Criterion, name: &str, key: fn(u64) -> Vec<u8>) {
    let keys = sorted_keys(key);
    let (nodes, root) = built(&keys);
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).throughput(Throughput::Elements(ENTRIES));
    group.bench_function("build", |bencher| bencher.iter(|| built(&keys).0.len()));
    group.throughput(Throughput::Elements(20_000));
    for (what, spread) in [("anywhere", ENTRIES), ("in a tenth", ENTRIES / 10)] {
        let mut state = 9;
        let mut changed: Vec<_> = (0..20_000).map(|_| random(&mut state) % spread).collect();
        changed.sort_unstable();
        changed.dedup();
        let changed: Vec<_> =
            changed.iter().map(|&at| keys[usize::try_from(at).expect("small")].clone()).collect();
        group.bench_function(format!("merge 20,000 changes {what}"), |bencher| {
            bencher.iter(|| {
                let changes = changed.iter().map(|key| (key, Some([8; VALUE_BYTES])));
                let mut more = nodes.next();
                merge(&nodes, root, CountEntries, changes, &mut more).expect("a sound tree");
                more.len()
            });
        });
    }
    group.finish();
}

fn all(criterion: &mut Criterion) {
    read(criterion, "numbered ids", numbered);
    read(criterion, "scattered ids", scattered);
    write(criterion, "numbered ids", numbered);
    write(criterion, "scattered ids", scattered);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(500))
        .measurement_time(std::time::Duration::from_secs(2));
    targets = all
}
criterion_main!(benches);

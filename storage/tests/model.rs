//! Random histories of edits, groups, streams, checkpoints and reopenings, on every reader, compared
//! with the naive model. A failing history is shrunk and printed by proptest.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::{path::Path, sync::Arc};

use common::{
    Act, Effect, GroupEdit, Model, Random, bytes, compact, perform, submit_group, write_stream,
};
use proptest::prelude::*;
use settee_storage::{
    FileStore, Options, ReadBy, Store,
    disk::{Disk, MemoryDisk, RealDisk},
};

#[derive(Clone, Debug)]
enum Step {
    /// One edit of some acts.
    Edit {
        seed: u64,
        acts: u64,
    },
    /// Several edits in one commit, of which some decline.
    Group {
        seed: u64,
        edits: u64,
    },
    /// A stream, and an edit that stores its reference.
    Stream {
        seed: u64,
        len: usize,
    },
    Checkpoint,
    /// A compaction, with a snapshot held open.
    Compact {
        seed: u64,
    },
    /// The store is dropped and opened again.
    Reopen,
    /// The same, after a checkpoint.
    CloseAndReopen,
    Check {
        seed: u64,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (any::<u64>(), 1u64..40).prop_map(|(seed, acts)| Step::Edit { seed, acts }),
        3 => (any::<u64>(), 1u64..8).prop_map(|(seed, edits)| Step::Group { seed, edits }),
        1 => (any::<u64>(), 0usize..600_000).prop_map(|(seed, len)| Step::Stream { seed, len }),
        1 => Just(Step::Checkpoint),
        1 => any::<u64>().prop_map(|seed| Step::Compact { seed }),
        1 => Just(Step::Reopen),
        1 => Just(Step::CloseAndReopen),
        1 => any::<u64>().prop_map(|seed| Step::Check { seed }),
    ];
    proptest::collection::vec(step, 1..25)
}

struct Run {
    disk: Arc<dyn Disk>,
    path: std::path::PathBuf,
    options: Options,
    store: Arc<FileStore>,
    model: Model,
    names: u64,
}

impl Run {
    fn new(disk: Arc<dyn Disk>, path: &Path, options: Options, names: u64) -> Self {
        let store = FileStore::create(Arc::clone(&disk), path, options).unwrap();
        let path = path.to_path_buf();
        Run { disk, path, options, store, model: Model::default(), names }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn acts(&self, random: &mut Random, count: u64) -> Vec<Act> {
        (0..count).map(|_| Act::random(random, self.names)).collect()
    }

    fn step(&mut self, step: &Step) {
        let store = self.store();
        match step {
            Step::Edit { seed, acts } => {
                let acts = self.acts(&mut Random(*seed), *acts);
                self.model.update(&store, acts).unwrap();
            }
            Step::Group { seed, edits } => self.group(&store, *seed, *edits),
            Step::Stream { seed, len } => {
                let content = bytes(*seed, *len);
                let staged = write_stream(&store, &content, &mut Random(*seed)).unwrap();
                let key = format!("stream {seed}").into_bytes();
                self.model.update(&store, vec![Act::Attach { key, staged, content }]).unwrap();
            }
            Step::Checkpoint => store.checkpoint().unwrap(),
            Step::Compact { seed } => {
                let snapshot = store.snapshot().unwrap();
                compact(store.as_ref()).unwrap();
                // The one taken before goes on showing the same, from the file that has no name any more.
                self.model.check(snapshot.as_ref(), &mut Random(*seed));
            }
            Step::Reopen => self.reopen(),
            Step::CloseAndReopen => {
                store.checkpoint().unwrap();
                store.close();
                drop(store);
                self.reopen();
                assert_eq!(self.store.recovery(), settee_storage::Recovery::default());
            }
            Step::Check { seed } => {
                self.model.check(store.snapshot().unwrap().as_ref(), &mut Random(*seed));
            }
        }
    }

    fn group(&mut self, store: &Arc<dyn Store>, seed: u64, edits: u64) {
        let mut random = Random(seed);
        let mut group: Vec<GroupEdit<Vec<Effect>>> = Vec::new();
        for _ in 0..edits {
            let acts = self.acts(&mut random, 3);
            let declines = random.chance(3);
            group.push(Box::new(move |edit| {
                let effects = perform(edit, &acts)?;
                Ok((!declines).then_some(effects))
            }));
        }
        for (effects, outcome) in submit_group(store, group) {
            assert_eq!(outcome.unwrap().committed, effects.is_some());
            self.model.absorb(&effects.unwrap_or_default());
        }
    }

    fn reopen(&mut self) {
        let kept = self.store.snapshot().unwrap();
        self.store.close();
        let disk = Arc::clone(&self.disk);
        self.store = FileStore::open(disk, &self.path, self.options).unwrap();
        // A snapshot outlives its store, though not the streams' tails that were cut off.
        assert_eq!(kept.counts(), self.store.snapshot().unwrap().counts());
        self.model.check(self.store.snapshot().unwrap().as_ref(), &mut Random(self.model.seq));
    }
}

fn options(log: u64, read_by: ReadBy) -> Options {
    Options {
        checkpoint_log_bytes: log,
        checkpoint_memory_bytes: log * 2,
        cache_bytes: 100_000,
        read_by,
        ..Options::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn histories_in_memory(steps in steps(), log in 500u64..100_000, names in 1u64..300) {
        let disk = Arc::new(MemoryDisk::new());
        let mut run = Run::new(disk, Path::new("db"), options(log, ReadBy::Auto), names);
        for step in &steps {
            run.step(step);
        }
        run.reopen();
    }

    #[test]
    fn histories_in_a_mapped_file(steps in steps(), log in 500u64..100_000, names in 1u64..300) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let mut run = Run::new(Arc::new(RealDisk), &path, options(log, ReadBy::Map), names);
        for step in &steps {
            run.step(step);
        }
        run.reopen();
    }
}

//! Writing an index anew from its own rows: with other reductions, or to leave garbage behind.

use settee_storage::{
    Direction, KeyRange,
    tree::{Builder, CountEntries},
};

use super::{Current, IndexMeta, ViewIndex, reduction};
use crate::{
    error::Result,
    view::{progress::Progress, reduce::ReduceSpec, settings::ViewSettings, source::RowSource},
};

/// Rows between two looks at whether to go on.
const CHECK_EVERY_ROWS: u64 = 10_000;

/// Writes the index anew, with these reductions, as long as the last argument says so. Readers keep what they have; who changes the index must
/// wait, so the caller holds its lock.
pub(crate) fn rewrite(
    index: &ViewIndex,
    current: &Current,
    reducers: Vec<ReduceSpec>,
    source: &dyn RowSource,
    settings: &ViewSettings,
    progress: &Progress,
    go_on: &dyn Fn() -> bool,
) -> Result<()> {
    let file = index.create()?;
    let mut writer = file.write();
    let reduce = reduction(&reducers, source, settings.reduce_limits)?;
    let mut builder = Builder::new(reduce, &mut writer);
    let mut loaded_rows = 0u64;
    let mut cursor = current.rows().cursor(&KeyRange::all(), Direction::Forward);
    while let Some((key, value)) = cursor.next()? {
        builder.push(key, value)?;
        loaded_rows += 1;
        if loaded_rows.is_multiple_of(CHECK_EVERY_ROWS) {
            progress.check()?;
            if !go_on() {
                return Err(settee_storage::Error::Cancelled.into());
            }
            progress.add(CHECK_EVERY_ROWS);
        }
    }
    let rows = builder.finish()?;
    let mut builder = Builder::new(CountEntries, &mut writer);
    let mut cursor = current.documents().cursor(&KeyRange::all(), Direction::Forward);
    while let Some((key, value)) = cursor.next()? {
        builder.push(key, value)?;
    }
    let documents = builder.finish()?;
    let loaded_bytes = writer.bytes();
    let meta = IndexMeta { reducers, loaded_rows, loaded_bytes, ..current.meta.clone() };
    writer.commit(&[rows, documents], &meta.encode())?;
    drop(writer);
    index.install(&file)
}

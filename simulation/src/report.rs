//! What a run leaves behind: its trace and its figures.

use std::fmt;

/// What happened, line by line, if anybody wants to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace(Option<Vec<String>>);

impl Trace {
    /// Keeps everything.
    #[must_use]
    pub fn kept() -> Self {
        Trace(Some(Vec::new()))
    }

    /// The lines.
    #[must_use]
    pub fn lines(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            lines.push(line());
        }
    }
}

/// How much was done, to see that the simulation meets what it is there for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps.
    pub steps: u64,
    /// Power cuts.
    pub crashes: u64,
    /// Processes killed.
    pub kills: u64,
    /// Processes ended in order.
    pub closings: u64,
    /// Compactions that came to their end.
    pub compactions: u64,
    /// Compactions that were told to stop.
    pub cancelled: u64,
    /// Views compared with a recomputation.
    pub views: u64,
    /// Operations that a failing disk made fail.
    pub troubles: u64,
    /// Whole databases compared with the model.
    pub comparisons: u64,
    /// Comparisons of held snapshots.
    pub snapshots: u64,
    /// Flipped bits that were noticed.
    pub damage_noticed: u64,
}

impl std::ops::AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.kills += other.kills;
        self.closings += other.closings;
        self.compactions += other.compactions;
        self.cancelled += other.cancelled;
        self.views += other.views;
        self.troubles += other.troubles;
        self.comparisons += other.comparisons;
        self.snapshots += other.snapshots;
        self.damage_noticed += other.damage_noticed;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} steps, {} compactions and {} cancelled ones, {} power cuts, {} kills, {} closings, {} failed \
             operations, {} databases, {} snapshots and {} views compared, damage noticed {} times",
            self.steps,
            self.compactions,
            self.cancelled,
            self.crashes,
            self.kills,
            self.closings,
            self.troubles,
            self.comparisons,
            self.snapshots,
            self.views,
            self.damage_noticed
        )
    }
}

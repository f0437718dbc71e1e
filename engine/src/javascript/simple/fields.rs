//! The members of a document that programs look at, found in one walk for all of them.

use super::syntax::Program;
use crate::json::raw;

/// See the module.
#[derive(Debug, Default)]
pub(in crate::javascript) struct Fields {
    names: Vec<String>,
    /// For each function which of the names its program's fields are.
    places: Vec<Vec<usize>>,
}

/// The texts of members, where there are any.
pub(in crate::javascript) type Found<'d> = Vec<Option<&'d [u8]>>;

impl Fields {
    /// The members that these functions look at, as far as they are programs.
    pub(in crate::javascript) fn of(programs: &[Option<Program>]) -> Self {
        let mut fields = Fields::default();
        for program in programs {
            let wanted = program.iter().flat_map(|program| &program.fields);
            let places = wanted.map(|name| {
                fields.names.iter().position(|known| known == name).unwrap_or_else(|| {
                    fields.names.push(name.clone());
                    fields.names.len() - 1
                })
            });
            let places = places.collect();
            fields.places.push(places);
        }
        fields
    }

    /// Finds them in a document.
    pub(in crate::javascript) fn find<'d>(&self, document: &'d [u8]) -> Found<'d> {
        let mut found = vec![None; self.names.len()];
        let mut missing = self.names.len();
        let mut members = raw::members(document);
        while missing > 0
            && let Some((name, value)) = members.next()
        {
            let place = self.names.iter().position(|field| field.as_bytes() == name);
            if let Some(slot) = place.and_then(|place| found.get_mut(place)) {
                *slot = Some(value);
                missing -= 1;
            }
        }
        found
    }

    /// What one function's program looks at.
    pub(in crate::javascript) fn for_program<'d>(
        &self,
        function: usize,
        found: &Found<'d>,
    ) -> Found<'d> {
        let places = self.places.get(function).map(Vec::as_slice).unwrap_or_default();
        places.iter().map(|place| found.get(*place).copied().flatten()).collect()
    }
}

//! Map functions that need no interpreter.
//!
//! Most map functions look at a few members of a document and emit them. Those written in a small part of
//! the language are run here, straight over the document's text: nothing is parsed that is not looked
//! at. The part holds conditions, literals, members, comparison, logic, arithmetic, variables, loops
//! over arrays and `emit`; there is nothing in it that a document could be changed or state be kept with.
//!
//! * `syntax`, `parser`, `expression`: from the text of a function to a program; any text outside that part is none
//! * `fields`: the members that programs look at
//! * `value`: values, and what they are as JSON
//! * `run`: running a program. Where the language says something that is not built here (a conversion
//!   between types, an exception), the run is given up, and the interpreter does that document
//!
//! The interpreter is the rule: a property test holds programs against it.

mod expression;
mod fields;
mod parser;
mod run;
mod syntax;
#[cfg(test)]
mod tests;
mod value;

pub(super) use fields::Fields;
pub(super) use parser::parse;
pub(super) use run::{Emitted, Run};
pub(super) use syntax::Program;

/// The run is left to the interpreter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GiveUp;

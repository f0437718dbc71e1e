//! What the program does besides serving: one file for each command of the command line. What a command
//! finds out or does is elsewhere; here it is called and told to people.

pub mod config;
pub mod service;

//! The real binary as people run it: its configuration, its connections, what is behind it, and what it
//! tells those who look after it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

#[path = "../support/mod.rs"]
mod support;

mod browsers;
mod config;
mod connections;
mod metrics;
mod proxy;
mod tls;
mod updates;

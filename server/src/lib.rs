//! Settee's server: the CouchDB 3 HTTP API over the engine.
//!
//! A request's way through the house: [`http`] takes it from the connection, [`auth`] says who
//! asks, `routes` finds the handler and the handler makes one call on the engine. [`config`] holds
//! the options, [`app`] what all requests share; [`per_user`] gives every user a database, [`replicator`]
//! replicates, `global_changes` writes down what happens to databases; [`cli`], [`restart`], [`allocator`],
//! [`commands`], [`startup`] and [`descriptors`] are the binary's.

pub mod allocator;
pub mod app;
pub mod auth;
pub mod cli;
pub mod commands;
pub mod config;
pub mod descriptors;
mod global_changes;
pub mod http;
pub mod logging;
pub mod metrics;
pub mod per_user;
mod proxy;
pub mod replicator;
pub mod restart;
mod routes;
pub mod startup;
pub mod uuids;

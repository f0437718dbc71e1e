//! Settee's server: the CouchDB 3 HTTP API over the engine.

pub mod app;
pub mod auth;
pub mod config;
pub mod http;
pub mod routes;
pub mod uuids;

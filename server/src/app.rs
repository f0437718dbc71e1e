//! What all requests share.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use crate::config::Settings;

/// The running server's state: settings, databases, accounts.
pub struct App {
    settings: ArcSwap<Settings>,
    address: OnceLock<SocketAddr>,
}

impl App {
    /// The settings as they are now; a request that reads several should keep what this returns.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// The address the server listens on.
    pub fn address(&self) -> SocketAddr {
        self.address.get().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }
}

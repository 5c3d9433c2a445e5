//! The end of the server: no more connections, what runs is finished within bounds, and then nothing is left.

use super::Server;
use crate::arena::Key;
use crate::log::Level;

impl Server {
    /// A signal asked for the end. Who asks twice does not want to wait.
    pub(super) fn on_signals(&mut self) {
        let asked = self.signals.pending().count();
        if asked == 0 {
            return;
        }
        if self.drain_ends_ns.is_some() {
            self.log.server(Level::Warn, "ending at once");
            self.log.finish();
            std::process::exit(1);
        }
        self.log.server(
            Level::Info,
            "draining: no more connections, what runs is finished",
        );
        self.drain_ends_ns = Some(
            self.now_ns
                .saturating_add(self.drain_time.as_nanos() as u64),
        );
        self.shared.draining = true;
        // Dropped listeners are closed: the port is free for a successor, and new clients are told by the system.
        self.public = None;
        self.admin = None;
        let idle: Vec<Key> = self
            .clients
            .keys()
            .filter(|key| {
                self.clients
                    .get(*key)
                    .is_some_and(|c| c.connection.is_between_requests())
            })
            .collect();
        for key in idle {
            // A request may be on its way in; what has arrived of it is served.
            self.drive(key);
            if let Some(client) = self.clients.get_mut(key)
                && client.connection.is_between_requests()
            {
                client.connection.close(&mut self.shared);
            }
            self.reap(key);
        }
    }

    /// Whether the end has come.
    pub(super) fn is_drained(&mut self) -> bool {
        let Some(ends_ns) = self.drain_ends_ns else {
            return false;
        };
        let left = self.clients.len();
        if left > 0 && self.now_ns >= ends_ns {
            let message = format!("{left} connections are cut off: the time to drain is over");
            self.log.server(Level::Warn, &message);
            return true;
        }
        left == 0
    }
}

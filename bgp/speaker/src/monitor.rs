//! Those who look on: each has a bounded queue, and hears how much it missed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use brindle_bgp_proto::speaker::{Observed, Seen, Speaker};
use tokio::sync::mpsc;

/// What waits for one of them; more is lost.
pub(crate) const QUEUE: usize = 8192;

/// What somebody who looks on is told.
#[derive(Clone, Debug)]
pub enum News {
    /// Something was seen, so long after 1970.
    Seen(Duration, Arc<Seen>),
    /// So much was seen while nobody took it.
    Lost(u64),
}

/// All who look on.
#[derive(Debug)]
pub(crate) struct Monitors {
    start: Instant,
    all: Vec<Monitor>,
}

#[derive(Debug)]
struct Monitor {
    news: mpsc::Sender<News>,
    lost: u64,
}

impl Monitors {
    pub(crate) fn new(start: Instant) -> Self {
        Self { start, all: Vec::new() }
    }

    /// One more looks on.
    pub(crate) fn add(&mut self, news: mpsc::Sender<News>, speaker: &mut Speaker) {
        self.all.push(Monitor { news, lost: 0 });
        speaker.set_observed(true);
    }

    /// Tells what was seen; those who no longer listen go.
    pub(crate) fn tell(&mut self, speaker: &mut Speaker) {
        if self.all.is_empty() {
            return;
        }
        // The wall clock as it is now: the speaker counts from its start.
        let ago = |at: Duration| self.start.elapsed().saturating_sub(at);
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since_1970 = since_1970.unwrap_or_default();
        while let Some(Observed { at, what }) = speaker.poll_observed() {
            let time = since_1970.saturating_sub(ago(at.elapsed()));
            let what = Arc::new(what);
            for monitor in &mut self.all {
                monitor.tell(News::Seen(time, what.clone()));
            }
        }
        self.all.retain(|monitor| !monitor.news.is_closed());
        if self.all.is_empty() {
            speaker.set_observed(false);
        }
    }
}

impl Monitor {
    fn tell(&mut self, news: News) {
        if self.lost > 0 {
            match self.news.try_send(News::Lost(self.lost)) {
                Ok(()) => self.lost = 0,
                Err(_) => {
                    self.lost += 1;
                    return;
                }
            }
        }
        if self.news.try_send(news).is_err() {
            self.lost += 1;
        }
    }
}

//! The last packets that the kernel told of: denied ones, and those that Log rules record.
//!
//! One thread hears them; they are kept in two rings, so that many of one kind do not push out the
//! other. A logged packet is also a line of the agent's log (C5). That nothing can be heard costs
//! no verdict: it is said, and the agent goes on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use brindle_dataplane_core::nflog::{Event, ListenError, Listener, News, Report};
use brindle_model::verdict::Label;
use nix::net::if_::if_indextoname;
use tracing::{info, warn};

/// A packet that is remembered.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Counts the packets of its kind from 1.
    pub number: u64,
    /// When it was heard of.
    pub at: Instant,
    /// The interface it came in on, by name; by number if that is gone.
    pub input: Option<String>,
    /// The interface it was to go out on.
    pub output: Option<String>,
    /// The packet and who decided.
    pub report: Report,
}

/// What is remembered of one kind, and what is not.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// The packets, the oldest first.
    pub entries: Vec<Entry>,
    /// Packets of both kinds that the kernel could not deliver.
    pub lost: u64,
    /// How often more came than could be heard.
    pub overruns: u64,
}

/// The packets. Listening ends on drop.
pub struct PacketLog {
    rings: Arc<Mutex<Rings>>,
    listening: Result<Listener, ListenError>,
}

impl PacketLog {
    /// Listens in the calling thread's network namespace, and remembers so many packets a kind.
    pub fn start(kept: usize) -> Self {
        let rings = Arc::new(Mutex::new(Rings::new(kept)));
        let told = {
            let rings = rings.clone();
            move |news| lock(&rings).take(news)
        };
        let listening = Listener::spawn(told);
        if let Err(error) = &listening {
            warn!(error = %error, "denied and logged packets are counted, but not told of");
        }
        Self { rings, listening }
    }

    /// Remembers so many packets a kind from now on; of more than that the oldest are forgotten.
    pub fn keep(&self, kept: usize) {
        lock(&self.rings).keep(kept);
    }

    /// Why nothing is heard, if nothing is.
    pub fn problem(&self) -> Option<String> {
        self.listening.as_ref().err().map(ToString::to_string)
    }

    /// The remembered packets of a kind whose number is above `after`.
    pub fn after(&self, event: Event, after: u64) -> Remembered {
        let rings = lock(&self.rings);
        let ring = match event {
            Event::Deny => &rings.denied,
            Event::Log => &rings.logged,
        };
        let entries = ring.entries.iter().filter(|entry| entry.number > after).cloned().collect();
        Remembered { entries, lost: rings.lost, overruns: rings.overruns }
    }
}

fn lock(rings: &Mutex<Rings>) -> MutexGuard<'_, Rings> {
    rings.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Rings {
    denied: Ring,
    logged: Ring,
    lost: u64,
    overruns: u64,
}

impl Rings {
    fn new(kept: usize) -> Self {
        let ring = || Ring { kept, heard: 0, entries: VecDeque::new() };
        Self { denied: ring(), logged: ring(), lost: 0, overruns: 0 }
    }

    fn keep(&mut self, kept: usize) {
        for ring in [&mut self.denied, &mut self.logged] {
            ring.kept = kept;
            let surplus = ring.entries.len().saturating_sub(kept);
            ring.entries.drain(..surplus);
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Packet(report) => match report.event {
                Event::Deny => self.denied.push(report),
                Event::Log => {
                    log_line(&report);
                    self.logged.push(report);
                }
            },
            News::Lost(packets) => self.lost += packets,
            News::Overrun => self.overruns += 1,
        }
    }
}

fn log_line(report: &Report) {
    let decision = match &report.decision {
        Label::Decision(decision) => decision.to_string(),
        Label::Cut(label) => label.clone(),
    };
    match &report.packet {
        Some(packet) => info!(decision, %packet, "a Log rule matches"),
        None => info!(decision, "a Log rule matches"),
    }
}

struct Ring {
    kept: usize,
    heard: u64,
    entries: VecDeque<Entry>,
}

impl Ring {
    fn push(&mut self, report: Report) {
        self.heard += 1;
        if self.kept == 0 {
            return;
        }
        if self.entries.len() == self.kept {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry {
            number: self.heard,
            at: Instant::now(),
            input: report.input.map(interface),
            output: report.output.map(interface),
            report,
        });
    }
}

/// The name now: a pod's interface may be gone when somebody asks.
fn interface(index: u32) -> String {
    let name = if_indextoname(index).ok().and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| index.to_string())
}

#[cfg(test)]
mod tests {
    use brindle_model::verdict::DecisionId;

    use super::*;

    fn denied(hook: u8) -> News {
        let decision = Label::Decision(DecisionId::Spoof);
        let (input, output, packet) = (None, None, None);
        News::Packet(Report { event: Event::Deny, decision, hook, input, output, packet })
    }

    #[test]
    fn the_last_ones_are_remembered_and_what_is_missing_is_counted() {
        let mut rings = Rings::new(3);
        (1..=5).for_each(|hook| rings.take(denied(hook)));
        rings.take(News::Overrun);
        rings.take(News::Lost(7));
        let log = PacketLog {
            rings: Arc::new(Mutex::new(rings)),
            listening: Err(ListenError::Refused(nix::errno::Errno::EPERM)),
        };
        let all = log.after(Event::Deny, 0);
        let numbers = |found: &Remembered| {
            found.entries.iter().map(|e| (e.number, e.report.hook)).collect::<Vec<_>>()
        };
        assert_eq!(numbers(&all), [(3, 3), (4, 4), (5, 5)]);
        assert_eq!((all.lost, all.overruns), (7, 1));
        assert_eq!(numbers(&log.after(Event::Deny, 4)), [(5, 5)]);
        assert!(log.after(Event::Log, 0).entries.is_empty());
        assert!(log.problem().unwrap().contains("9898"));
    }

    #[test]
    fn of_fewer_the_oldest_are_forgotten() {
        let mut rings = Rings::new(4);
        (1..=4).for_each(|hook| rings.take(denied(hook)));
        rings.keep(2);
        let kept =
            |rings: &Rings| rings.denied.entries.iter().map(|e| e.number).collect::<Vec<_>>();
        assert_eq!(kept(&rings), [3, 4]);
        rings.keep(3);
        rings.take(denied(5));
        assert_eq!(kept(&rings), [3, 4, 5]);
    }
}

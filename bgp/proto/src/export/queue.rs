//! Adj-RIB-Out of one peer with the changes that still have to be sent.
//!
//! The queue is keyed by attribute set, so that prefixes which share one share messages; a newer
//! state of a prefix replaces the one that waits, and a change that is taken back before it was
//! sent leaves nothing to send.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use ipnet::IpNet;

use super::Exported;
use crate::encode::{prefix_len, room_for_prefixes, room_for_withdrawals};
use crate::family::Family;
use crate::message::{Reach, Update};
use crate::negotiated::Negotiated;

/// What the peer has, and what it shall have.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExportQueue {
    /// What we sent and did not withdraw.
    sent: HashMap<IpNet, Arc<Exported>>,
    /// Prefixes whose new state waits.
    queued: HashMap<IpNet, Queued>,
    withdrawals: BTreeSet<IpNet>,
    announcements: BTreeMap<Arc<Exported>, BTreeSet<IpNet>>,
    /// How many prefixes the peer shall have, IPv4 and IPv6.
    shall_have: [usize; 2],
}

/// An UPDATE and what was told of its prefixes before it.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) update: Update,
    pub(crate) before: Vec<(IpNet, Option<Arc<Exported>>)>,
}

/// How far a prefix is on its way to the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// The peer has no route and none waits.
    Absent,
    /// A change waits for room in the connection.
    Waiting,
    /// Sent as it is.
    Sent,
}

#[derive(Clone, Debug)]
struct Queued {
    /// `None` waits among the withdrawals.
    state: Option<Arc<Exported>>,
    /// The peer asked for it: to be sent even if it has it.
    asked: bool,
}

impl ExportQueue {
    /// The peer shall have this; `None` for nothing.
    pub(crate) fn set(&mut self, prefix: IpNet, state: Option<Arc<Exported>>) {
        let had = self.shall_have(&prefix);
        let count = &mut self.shall_have[index(Family::of(&prefix))];
        *count = *count + usize::from(state.is_some()) - usize::from(had);
        let asked = self.remove(&prefix);
        let known = self.sent.get(&prefix);
        if known == state.as_ref() && !(asked && state.is_some()) {
            return;
        }
        match &state {
            Some(exported) => {
                self.announcements.entry(exported.clone()).or_default().insert(prefix);
            }
            None => {
                self.withdrawals.insert(prefix);
            }
        }
        self.queued.insert(prefix, Queued { state, asked });
    }

    /// The peer has this already, by other ways than this queue, and shall have it.
    pub(crate) fn adopt(&mut self, prefix: IpNet, has: Option<Arc<Exported>>) {
        self.forget(&prefix);
        if let Some(has) = has {
            self.shall_have[index(Family::of(&prefix))] += 1;
            self.sent.insert(prefix, has);
        }
    }

    /// Knows nothing of a prefix any more, whatever the peer has.
    pub(crate) fn forget(&mut self, prefix: &IpNet) {
        if self.shall_have(prefix) {
            self.shall_have[index(Family::of(prefix))] -= 1;
        }
        self.remove(prefix);
        self.sent.remove(prefix);
    }

    /// What the peer shall have of a prefix.
    pub(crate) fn wanted(&self, prefix: &IpNet) -> Option<&Arc<Exported>> {
        match self.queued.get(prefix) {
            Some(queued) => queued.state.as_ref(),
            None => self.sent.get(prefix),
        }
    }

    /// What the peer has of a prefix.
    pub(crate) fn has(&self, prefix: &IpNet) -> Option<&Arc<Exported>> {
        self.sent.get(prefix)
    }

    /// Prefixes whose new state waits.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &IpNet> {
        self.queued.keys()
    }

    /// Whether nothing waits.
    pub(crate) fn is_drained(&self) -> bool {
        self.queued.is_empty()
    }

    /// Whether the peer shall have a prefix.
    pub(crate) fn shall_have(&self, prefix: &IpNet) -> bool {
        match self.queued.get(prefix) {
            Some(queued) => queued.state.is_some(),
            None => self.sent.contains_key(prefix),
        }
    }

    /// How many prefixes of a family the peer shall have.
    pub(crate) fn count(&self, family: Family) -> usize {
        self.shall_have[index(family)]
    }

    /// The prefixes of a family that the peer shall have, in order.
    pub(crate) fn prefixes(&self, family: Family) -> BTreeSet<IpNet> {
        let all = self.sent.keys().chain(self.queued.keys());
        let of_family = all.filter(|prefix| Family::of(prefix) == family);
        of_family.filter(|prefix| self.shall_have(prefix)).copied().collect()
    }

    /// Queues everything of a family that the peer has (RFC 2918 §4).
    pub(crate) fn resend(&mut self, family: Family) {
        let sent = self.sent.iter().filter(|(prefix, _)| Family::of(prefix) == family);
        for (prefix, exported) in sent {
            let state = Some(exported.clone());
            match self.queued.get_mut(prefix) {
                Some(queued) => queued.asked = true,
                None => {
                    self.announcements.entry(exported.clone()).or_default().insert(*prefix);
                    self.queued.insert(*prefix, Queued { state, asked: true });
                }
            }
        }
    }

    /// The next UPDATE, which fits one message: withdrawals first, since they free what the
    /// announcements may need.
    pub(crate) fn next(&mut self, session: &Negotiated) -> Option<Update> {
        self.cut(session).map(|cut| cut.update)
    }

    /// The same, with what was told before.
    pub(crate) fn cut(&mut self, session: &Negotiated) -> Option<Cut> {
        loop {
            if let Some(first) = self.withdrawals.first() {
                let family = Family::of(first);
                return Some(self.withdraw(family, room_for_withdrawals(session)));
            }
            let bucket = self.announcements.first_entry()?;
            let exported = bucket.key().clone();
            let Exported { family, next_hop, attributes } = &*exported;
            match room_for_prefixes(attributes, next_hop, *family, session) {
                Ok(room) => return Some(self.announce(&exported, room)),
                // Too long for this peer: what it has of these prefixes is no longer true.
                Err(_) => bucket.remove().into_iter().for_each(|prefix| self.set(prefix, None)),
            }
        }
    }

    /// Prefixes that the peer has from us, and as what.
    pub(crate) fn advertised(&self) -> impl Iterator<Item = (&IpNet, &Arc<Exported>)> {
        self.sent.iter()
    }

    /// How far a prefix is.
    pub(crate) fn progress(&self, prefix: &IpNet) -> Progress {
        match (self.queued.get(prefix), self.sent.contains_key(prefix)) {
            (Some(_), _) => Progress::Waiting,
            (None, true) => Progress::Sent,
            (None, false) => Progress::Absent,
        }
    }

    fn withdraw(&mut self, family: Family, room: usize) -> Cut {
        let prefixes = take(&mut self.withdrawals, family, room);
        let mut before = Vec::with_capacity(prefixes.len());
        for prefix in &prefixes {
            self.queued.remove(prefix);
            before.push((*prefix, self.sent.remove(prefix)));
        }
        Cut { update: Update::withdraw(prefixes), before }
    }

    fn announce(&mut self, exported: &Arc<Exported>, room: usize) -> Cut {
        let mut prefixes = Vec::new();
        if let Some(bucket) = self.announcements.get_mut(exported) {
            prefixes = take(bucket, exported.family, room);
            if bucket.is_empty() {
                self.announcements.remove(exported);
            }
        }
        let mut before = Vec::with_capacity(prefixes.len());
        for prefix in &prefixes {
            self.queued.remove(prefix);
            before.push((*prefix, self.sent.insert(*prefix, exported.clone())));
        }
        let reach = Reach { family: exported.family, next_hop: exported.next_hop, prefixes };
        let (reach, attributes) = (vec![reach], exported.attributes.clone());
        Cut { update: Update { reach, attributes, ..Update::default() }, before }
    }

    /// Takes a prefix out of the queue; whether the peer had asked for it.
    fn remove(&mut self, prefix: &IpNet) -> bool {
        let Some(queued) = self.queued.remove(prefix) else { return false };
        match queued.state {
            None => {
                self.withdrawals.remove(prefix);
            }
            Some(exported) => {
                if let Some(bucket) = self.announcements.get_mut(&exported) {
                    bucket.remove(prefix);
                    if bucket.is_empty() {
                        self.announcements.remove(&exported);
                    }
                }
            }
        }
        queued.asked
    }
}

fn index(family: Family) -> usize {
    match family {
        Family::Ipv4Unicast => 0,
        Family::Ipv6Unicast => 1,
    }
}

/// Takes leading prefixes of a family as long as they fit `room` octets; at least one.
fn take(from: &mut BTreeSet<IpNet>, family: Family, room: usize) -> Vec<IpNet> {
    let mut left = room;
    let mut taken = Vec::new();
    while let Some(prefix) = from.first().filter(|prefix| Family::of(prefix) == family) {
        match left.checked_sub(prefix_len(prefix)) {
            Some(rest) => left = rest,
            None => break,
        }
        taken.extend(from.pop_first());
    }
    taken
}

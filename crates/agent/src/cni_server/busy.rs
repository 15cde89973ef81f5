//! One request at a time for one container interface.

use std::collections::BTreeSet;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use brindle_ipam::Handle;

/// Handles that a request works on.
#[derive(Debug, Default)]
pub(super) struct Busy {
    handles: Mutex<BTreeSet<Handle>>,
    freed: Condvar,
}

/// Keeps others from the handle until it is dropped.
#[derive(Debug)]
pub(super) struct Occupied<'a> {
    busy: &'a Busy,
    handle: Handle,
}

impl Busy {
    /// Waits for the handle; `None` if it was not free by the deadline.
    pub(super) fn occupy(&self, handle: &Handle, deadline: Instant) -> Option<Occupied<'_>> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        while !handles.insert(handle.clone()) {
            let left = deadline.checked_duration_since(Instant::now())?;
            let woken = self.freed.wait_timeout(handles, left);
            (handles, _) = woken.unwrap_or_else(PoisonError::into_inner);
        }
        Some(Occupied { busy: self, handle: handle.clone() })
    }
}

impl Drop for Occupied<'_> {
    fn drop(&mut self) {
        let mut handles = self.busy.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.remove(&self.handle);
        self.busy.freed.notify_all();
    }
}

//! Following a folder with inotify.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{Event as RawEvent, EventMask, Inotify, WatchDescriptor, WatchMask};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::scan::{self, is_object_file};
use super::store::Store;
use crate::event::{Event, Flow};

/// How long a vanished file's objects are held on to: longer than a program needs between removing
/// the old file and creating the new one, on a machine with other things to do.
const REMOVAL_DELAY: Duration = Duration::from_millis(20);
/// The same for a file that was renamed beside itself to a name that does not count, as an editor
/// does with its backup copy before it writes the new file.
const BACKUP_DELAY: Duration = Duration::from_secs(1);
/// Room for at least 200 events, so that a burst takes few reads.
const EVENT_BUFFER: usize = 64 << 10;
/// Largest event: a header of 16 bytes and a file name with its end, padded (inotify(7)).
const MAX_EVENT: usize = 16 + 256;

/// A folder that is being followed.
#[derive(Debug)]
pub struct DirectorySource {
    root: PathBuf,
    inotify: Inotify,
    /// Folders by watch, and watches by folder, both relative to the root.
    folders: HashMap<WatchDescriptor, PathBuf>,
    watches: BTreeMap<PathBuf, WatchDescriptor>,
    store: Store,
    /// Where orders come in, one byte each.
    orders: UnixStream,
    orderer: UnixStream,
}

/// Orders to a running [`DirectorySource`] from another thread.
#[derive(Debug)]
pub struct Control(UnixStream);

/// End.
const STOP: u8 = 0;
/// Say when everything written before has been told.
const BARRIER: u8 = 1;

/// The source takes no orders: it has ended, or so many wait that there is no room.
#[derive(Debug, thiserror::Error)]
#[error("the folder source takes no orders")]
pub struct ControlError(#[source] io::Error);

/// A folder cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel gives out no inotify instance.
    #[error("cannot create an inotify instance; see fs.inotify.max_user_instances")]
    Inotify(#[source] io::Error),
    /// The folder cannot be watched.
    #[error("cannot watch the folder {}", path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The handle that controls the source cannot be made.
    #[error("cannot create a socket pair")]
    Control(#[source] io::Error),
}

/// A folder can no longer be followed. What was told of it stays true as far as anybody knows.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder was deleted, renamed or unmounted.
    #[error("the folder {} is gone", .0.display())]
    Gone(PathBuf),
    /// A folder inside it cannot be watched.
    #[error("cannot watch the folder {}; see fs.inotify.max_user_watches", path.display())]
    Watch {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Events cannot be read.
    #[error("cannot read inotify events")]
    Events(#[source] io::Error),
    /// Neither events nor orders can be waited for.
    #[error("cannot wait for inotify events")]
    Wait(#[source] io::Error),
}

/// What has happened and is not handled yet; paths are relative to the root.
#[derive(Debug, Default)]
struct Pending {
    /// Files to read.
    files: BTreeSet<PathBuf>,
    /// Folders to read as a whole.
    folders: BTreeSet<PathBuf>,
    /// What vanished.
    vanished: BTreeMap<PathBuf, Vanished>,
    /// When barriers were asked for that have not been told.
    barriers: Vec<Instant>,
}

/// When a path vanished, and when to believe it.
#[derive(Clone, Copy, Debug)]
struct Vanished {
    since: Instant,
    due: Instant,
    /// Pairs the two events of a rename.
    cookie: u32,
}

impl Control {
    /// Ends the source; [`DirectorySource::run`] returns soon.
    pub fn stop(&self) {
        // It fails only if the source is gone, or has so many orders that the end is among them.
        let _ = (&self.0).write(&[STOP]);
    }

    /// Asks for one [`Event::Barrier`], which comes when every change that was made to the folder
    /// before this call has been told.
    ///
    /// # Errors
    /// The source has ended, or has more orders than it can hold.
    pub fn barrier(&self) -> Result<(), ControlError> {
        (&self.0).write_all(&[BARRIER]).map_err(ControlError)
    }
}

impl DirectorySource {
    /// Prepares to follow the folder `root`.
    ///
    /// # Errors
    /// There is no such folder, or the kernel's limits of inotify are reached.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let root = root.into();
        let inotify = Inotify::init().map_err(OpenError::Inotify)?;
        let (orders, orderer) = UnixStream::pair().map_err(OpenError::Control)?;
        orderer.set_nonblocking(true).map_err(OpenError::Control)?;
        let mut source = Self {
            root,
            inotify,
            folders: HashMap::new(),
            watches: BTreeMap::new(),
            store: Store::default(),
            orders,
            orderer,
        };
        match source.watch(Path::new("")) {
            Ok(()) => Ok(source),
            Err(error) => Err(OpenError::Watch { path: source.root, source: error }),
        }
    }

    /// A handle for orders while [`Self::run`] runs.
    ///
    /// # Errors
    /// The process has no file descriptor left.
    pub fn control(&self) -> io::Result<Control> {
        self.orderer.try_clone().map(Control)
    }

    /// Tells what stands in the folder, then [`Event::InSync`], then every change, until `emit`
    /// breaks or a [`Control`] says so. Blocks; give it a thread of its own.
    ///
    /// # Errors
    /// The folder can no longer be followed.
    pub fn run(mut self, mut emit: impl FnMut(Event) -> Flow) -> Result<(), RunError> {
        self.scan(Path::new(""))?;
        if self.tell(&mut emit).is_break() || emit(Event::InSync).is_break() {
            return Ok(());
        }
        let mut pending = Pending::default();
        while let Some(barriers) = self.wait(pending.deadline())? {
            // What was written before a barrier was asked for is in the kernel's queue by now.
            self.collect(&mut pending)?;
            pending.barriers.extend(std::iter::repeat_n(Instant::now(), barriers));
            self.handle(&mut pending)?;
            if self.tell(&mut emit).is_break() {
                break;
            }
            for _ in 0..pending.take_barriers() {
                if emit(Event::Barrier).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn tell(&mut self, emit: &mut impl FnMut(Event) -> Flow) -> Flow {
        let changes = self.store.flush();
        if changes.is_empty() { Flow::Continue(()) } else { emit(Event::Changes(changes)) }
    }

    /// Waits for events and orders, at most until `deadline`. Returns how many barriers were asked
    /// for; nothing if the source is to stop.
    fn wait(&self, deadline: Option<Instant>) -> Result<Option<usize>, RunError> {
        let timeout = deadline.map_or(PollTimeout::NONE, |deadline| {
            // Rounded up, so that the deadline has passed when the wait has.
            let left =
                deadline.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        let mut fds = [
            PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.orders.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut fds, timeout) {
            Ok(_) if fds[1].any() == Some(true) => {
                let mut orders = [STOP; 64];
                let read = (&self.orders).read(&mut orders).map_err(RunError::Wait)?;
                let stop = orders[..read].contains(&STOP);
                Ok((!stop).then_some(read))
            }
            Ok(_) | Err(Errno::EINTR) => Ok(Some(0)),
            Err(error) => Err(RunError::Wait(error.into())),
        }
    }

    /// Reads what stands in the kernel's queue. Not until the queue is empty: somebody may write
    /// files faster than this reads.
    fn collect(&mut self, pending: &mut Pending) -> Result<(), RunError> {
        let queued = rustix::io::ioctl_fionread(&self.inotify);
        let queued = queued.map_err(|error| RunError::Events(error.into()))?;
        let reads = usize::try_from(queued).unwrap_or(usize::MAX) / (EVENT_BUFFER - MAX_EVENT) + 1;
        let mut buffer = vec![0; EVENT_BUFFER];
        for _ in 0..reads {
            let events = match self.inotify.read_events(&mut buffer) {
                Ok(events) => events,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(RunError::Events(error)),
            };
            for event in events {
                let folder = self.folders.get(&event.wd);
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    tracing::warn!("the inotify queue has overflowed, reading the folder again");
                    pending.folders.insert(PathBuf::new());
                } else if event.mask.contains(EventMask::IGNORED) {
                    if let Some(folder) = self.folders.remove(&event.wd)
                        && self.watches.get(&folder) == Some(&event.wd)
                    {
                        self.watches.remove(&folder);
                    }
                } else if let Some(folder) = folder {
                    let gone = EventMask::DELETE_SELF | EventMask::MOVE_SELF | EventMask::UNMOUNT;
                    if !event.mask.intersects(gone) {
                        pending.record(&self.root, folder, &event);
                    } else if folder.as_os_str().is_empty() {
                        return Err(RunError::Gone(self.root.clone()));
                    }
                    // A folder inside the root is reported by the folder that it was in.
                }
            }
        }
        Ok(())
    }

    /// Reads what is to be read, and forgets what has been gone long enough.
    fn handle(&mut self, pending: &mut Pending) -> Result<(), RunError> {
        let now = Instant::now();
        for folder in std::mem::take(&mut pending.folders) {
            self.scan(&folder)?;
        }
        for file in std::mem::take(&mut pending.files) {
            if !scan::load_present(&self.root, &file, &mut self.store) {
                // Written, and since then removed, or renamed with a folder above it: of that there
                // will be events of their own, and until then it is held like all that vanishes.
                let vanished = Vanished { since: now, due: now + REMOVAL_DELAY, cookie: 0 };
                pending.vanished.entry(file).or_insert(vanished);
            }
        }
        let due: Vec<_> =
            pending.vanished.extract_if(.., |_, vanished| vanished.due <= now).collect();
        for (path, _) in due {
            if self.watches.contains_key(&path) {
                self.scan(&path)?;
            } else {
                scan::load(&self.root, &path, &mut self.store);
            }
        }
        Ok(())
    }

    /// Reads a folder and what lies below, and forgets what is no longer there.
    fn scan(&mut self, folder: &Path) -> Result<(), RunError> {
        let mut open = vec![folder.to_owned()];
        while let Some(folder) = open.pop() {
            // Watched first, then listed: what is created in between is seen at least once.
            let listed = self.watch(&folder).and_then(|()| scan::list(&self.root, &folder));
            let entries = match listed {
                Ok(entries) => entries,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                    if folder.as_os_str().is_empty() {
                        return Err(RunError::Gone(self.root.clone()));
                    }
                    self.forget(&folder);
                    continue;
                }
                Err(source) => {
                    return Err(RunError::Watch { path: self.root.join(folder), source });
                }
            };
            let known = self.store.files_below(&folder).into_iter();
            for file in known.filter(|file| file.parent() == Some(&folder)) {
                if entries.files.binary_search_by(|f| (**f).cmp(&*file)).is_err() {
                    self.store.remove(&file);
                }
            }
            for child in self.folders_below(&folder) {
                let direct = child.parent() == Some(&folder);
                if direct && entries.folders.binary_search(&child).is_err() {
                    self.forget(&child);
                }
            }
            for file in &entries.files {
                scan::load(&self.root, file, &mut self.store);
            }
            open.extend(entries.folders);
        }
        Ok(())
    }

    /// Watches a folder; again is no harm.
    fn watch(&mut self, folder: &Path) -> io::Result<()> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::CREATE
            | WatchMask::DELETE
            | WatchMask::MOVE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        // "" joined would end in a slash, which is the same folder.
        let wd = self.inotify.watches().add(self.root.join(folder), mask)?;
        self.folders.insert(wd.clone(), folder.to_owned());
        self.watches.insert(folder.to_owned(), wd);
        Ok(())
    }

    /// Drops a folder that is gone, and everything below it.
    fn forget(&mut self, folder: &Path) {
        for file in self.store.files_below(folder) {
            self.store.remove(&file);
        }
        for folder in self.folders_below(folder) {
            let Some(wd) = self.watches.remove(&folder) else { continue };
            // A renamed folder has the same watch under its new name already.
            if self.folders.get(&wd) == Some(&folder) {
                self.folders.remove(&wd);
                // It fails if the folder is deleted, for then the kernel has dropped the watch.
                let _ = self.inotify.watches().remove(wd);
            }
        }
    }

    /// `folder` and the watched folders below it.
    fn folders_below(&self, folder: &Path) -> Vec<PathBuf> {
        let from = self.watches.range(folder.to_owned()..);
        from.map(|(path, _)| path).take_while(|path| path.starts_with(folder)).cloned().collect()
    }
}

impl Pending {
    /// Counts and drops the barriers before which nothing is left to handle. What vanishes after a
    /// barrier was asked for does not hold it up.
    fn take_barriers(&mut self) -> usize {
        let before = self.barriers.len();
        let first = self.vanished.values().map(|vanished| vanished.since).min();
        self.barriers.retain(|asked| first.is_some_and(|first| first <= *asked));
        before - self.barriers.len()
    }

    /// When the next vanished file is to be believed gone.
    fn deadline(&self) -> Option<Instant> {
        self.vanished.values().map(|vanished| vanished.due).min()
    }

    /// Takes in one event of a folder.
    fn record(&mut self, root: &Path, folder: &Path, event: &RawEvent<&std::ffi::OsStr>) {
        let Some(name) = event.name else { return };
        let path = folder.join(name);
        let mask = event.mask;
        let is_folder = mask.contains(EventMask::ISDIR);
        if is_folder && name.as_encoded_bytes().starts_with(b".") {
            return;
        }
        if !is_folder && !is_object_file(&path) {
            // A volume of a ConfigMap or Secret is swapped by renaming a link to a folder, and the
            // files are links through it.
            if links_to_folder(&root.join(&path)) {
                self.folders.insert(folder.to_owned());
            }
            if mask.contains(EventMask::MOVED_TO) {
                self.hold_backup(folder, event.cookie);
            }
        } else if mask.intersects(EventMask::DELETE | EventMask::MOVED_FROM) {
            self.files.remove(&path);
            self.folders.remove(&path);
            let since = Instant::now();
            let due = since + REMOVAL_DELAY;
            self.vanished.insert(path, Vanished { since, due, cookie: event.cookie });
        } else if is_folder {
            self.folders.insert(path);
        } else {
            self.vanished.remove(&path);
            let written = mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO);
            if written || is_complete(&root.join(&path)) {
                self.files.insert(path);
            }
        }
    }

    /// A file of `folder` was renamed within it to a name that does not count.
    fn hold_backup(&mut self, folder: &Path, cookie: u32) {
        let renamed = |(path, vanished): &(&PathBuf, &mut Vanished)| {
            vanished.cookie == cookie && path.parent() == Some(folder)
        };
        if let Some((_, vanished)) = self.vanished.iter_mut().find(renamed) {
            vanished.due = vanished.since + BACKUP_DELAY;
        }
    }
}

fn links_to_folder(path: &Path) -> bool {
    let is_link = path.symlink_metadata().is_ok_and(|m| m.is_symlink());
    is_link && path.metadata().is_ok_and(|m| m.is_dir())
}

/// Whether a file that has just appeared is complete: a link to a file that exists. Any other is
/// being written, and its writer will close it.
fn is_complete(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|m| m.is_symlink() || m.nlink() > 1)
}

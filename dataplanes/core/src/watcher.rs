//! A thread that reads a netlink socket until it is told to end.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use netlink_sys::Socket;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::error;

/// Stack of the thread, bytes.
const STACK: usize = 128 * 1024;

/// The thread. Ends on drop.
#[derive(Debug)]
pub struct Watcher {
    name: &'static str,
    stop: UnixStream,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Calls `readable` whenever the socket has something to read, or an error to tell; it reads
    /// until there is no more, and does not wait.
    ///
    /// # Errors
    /// No thread, or the socket cannot be read without waiting.
    pub fn spawn(
        name: &'static str,
        socket: Socket,
        mut readable: impl FnMut(&Socket) + Send + 'static,
    ) -> io::Result<Self> {
        socket.set_non_blocking(true)?;
        let (stop, stopped) = UnixStream::pair()?;
        let watch = move || {
            loop {
                match wait(&socket, &stopped) {
                    Ok(true) => readable(&socket),
                    Ok(false) => return,
                    Err(error) => {
                        error!(%error, watcher = name, "the socket is no longer read");
                        return;
                    }
                }
            }
        };
        let builder = std::thread::Builder::new().name(name.to_owned()).stack_size(STACK);
        Ok(Self { name, stop, thread: Some(builder.spawn(watch)?) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // Wakes the thread; it fails only if that has ended.
        let _ = self.stop.shutdown(std::net::Shutdown::Both);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            error!(watcher = self.name, "the thread panicked");
        }
    }
}

/// Waits for something to read; false if the thread is to end.
fn wait(socket: &Socket, stopped: &UnixStream) -> io::Result<bool> {
    let mut fds = [
        PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        PollFd::new(socket.as_fd(), PollFlags::POLLIN),
    ];
    match poll(&mut fds, PollTimeout::NONE) {
        Ok(_) if fds[0].any() == Some(true) => {
            // The end of the stream; nothing is ever written.
            let _ = { stopped }.read(&mut [0]);
            Ok(false)
        }
        Ok(_) | Err(Errno::EINTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

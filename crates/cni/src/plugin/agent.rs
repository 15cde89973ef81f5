//! The call to the agent, with one deadline for all of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};

use crate::error::{CniError, ErrorCode};
use crate::protocol::{Envelope, Outcome, PROTOCOL_VERSION, Request};
use crate::wire::{ReadError, read_reply, write_request};

/// How long the whole call may take: a runtime that waits for an agent that is down or stuck hears
/// of it within 5 s.
const PATIENCE: Duration = Duration::from_millis(4500);
/// What the way back needs of it.
const MARGIN: Duration = Duration::from_millis(500);

pub(super) fn ask(
    socket: &Path,
    request: Request,
    netns: Option<BorrowedFd<'_>>,
) -> Result<Outcome, CniError> {
    let deadline = Instant::now() + PATIENCE;
    let silent = |cause: &dyn std::error::Error| {
        let message = format!(
            "brindle-agent does not answer at {}; check that it runs on this node",
            socket.display()
        );
        CniError::caused(ErrorCode::TryAgainLater, message, cause)
    };
    let stream = open(socket).map_err(|e| silent(&e))?;
    let patience_ms = (PATIENCE - MARGIN).as_millis() as u32;
    let envelope = Envelope { version: PROTOCOL_VERSION, patience_ms, request };
    // An agent that is too busy answers without having read the request.
    let written = write_request(&stream, &envelope, netns);
    match (read_reply(&stream, deadline), written) {
        (Ok(reply), _) => match reply.outcome {
            Outcome::Failed(error) => Err(error),
            outcome => Ok(outcome),
        },
        (Err(_), Err(e)) => Err(silent(&e)),
        (Err(ReadError::Decode(e)), Ok(())) => Err(CniError::caused(
            ErrorCode::Internal,
            format!("the answer of the agent at {} cannot be understood", socket.display()),
            &e,
        )),
        (Err(e), Ok(())) => Err(silent(&e)),
    }
}

/// Connects. A full backlog blocks, so the send timeout bounds it (unix(7)).
fn open(path: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

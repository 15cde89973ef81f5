//! Messages on a unix stream socket, with a descriptor beside the first byte.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::protocol::{DecodeError, Envelope, MAX_MESSAGE, Reply, decode_reply, decode_request};

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection failed, or nothing came in time.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// The message is longer than [`MAX_MESSAGE`].
    #[error("the message is longer than {MAX_MESSAGE} bytes")]
    TooLong,
    /// What came is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[from] io::Error),
    /// It cannot be put into JSON.
    #[error("the message cannot be encoded")]
    Encode(#[from] serde_json::Error),
}

/// Sends a request, with the pod's network namespace if the request needs one.
///
/// # Errors
/// The connection failed.
pub fn write_request(
    stream: &UnixStream,
    envelope: &Envelope,
    netns: Option<BorrowedFd<'_>>,
) -> Result<(), WriteError> {
    let bytes = serde_json::to_vec(envelope)?;
    let descriptors: Vec<BorrowedFd<'_>> = netns.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
    }
    let flags = SendFlags::NOSIGNAL;
    let sent =
        sendmsg(stream, &[IoSlice::new(&bytes)], &mut control, flags).map_err(io::Error::from)?;
    // The descriptor went with the first bytes; the rest needs none.
    (&mut &*stream).write_all(&bytes[sent..])?;
    stream.shutdown(Shutdown::Write)?;
    Ok(())
}

/// Receives a request until its sender closed its side, and the descriptor beside it.
///
/// # Errors
/// The connection failed, nothing came for `timeout`, or what came is no request.
pub fn read_request(
    stream: &UnixStream,
    timeout: Duration,
) -> Result<(Envelope, Option<OwnedFd>), ReadError> {
    let deadline = Instant::now() + timeout;
    stream.set_read_timeout(Some(timeout))?;
    let mut bytes = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        recvmsg(stream.as_fd(), &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC)
    };
    bytes.truncate(received.map_err(io::Error::from)?.bytes);
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
            descriptor = descriptor.or(descriptors.next());
        }
    }
    read_to_end(stream, &mut bytes, deadline)?;
    Ok((decode_request(&bytes)?, descriptor))
}

/// Sends the reply and closes.
///
/// # Errors
/// The connection failed: the plugin is gone.
pub fn write_reply(stream: &UnixStream, reply: &Reply) -> Result<(), WriteError> {
    let bytes = serde_json::to_vec(reply)?;
    (&mut &*stream).write_all(&bytes)?;
    stream.shutdown(Shutdown::Both)?;
    Ok(())
}

/// Receives the reply.
///
/// # Errors
/// The connection failed, the reply was not whole at `deadline`, or it is none.
pub fn read_reply(stream: &UnixStream, deadline: Instant) -> Result<Reply, ReadError> {
    let mut bytes = Vec::new();
    match read_to_end(stream, &mut bytes, deadline) {
        // An agent that is too busy answers and closes without having read the request: the
        // kernel hands out the answer, and then says that the rest was lost.
        Err(ReadError::Io(e))
            if e.kind() == io::ErrorKind::ConnectionReset && !bytes.is_empty() => {}
        result => result?,
    }
    Ok(decode_reply(&bytes)?)
}

/// Reads up to the end of the stream; the deadline is for all of it, however it trickles in.
fn read_to_end(
    mut stream: &UnixStream,
    bytes: &mut Vec<u8>,
    deadline: Instant,
) -> Result<(), ReadError> {
    let mut chunk = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
        if bytes.len() > MAX_MESSAGE {
            return Err(ReadError::TooLong);
        }
    }
}

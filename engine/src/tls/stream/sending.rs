//! The sending side: plaintext becomes records, and what the socket does not take of them is held.

use std::io;
use std::io::IoSlice;

use super::gather::Rest;
use super::{BURST_BYTES, Handshake, TlsStream};
use crate::io::ByteStream;
use crate::tls::records::{Outgoing, Plaintext, Sealed};

impl<S: ByteStream> TlsStream<S> {
    /// Sends records, behind those that are held, and holds what the socket does not take.
    pub(super) fn send_sealed(&mut self, sealed: &Sealed, is_last: bool) -> io::Result<()> {
        let mut bytes = sealed.as_slice();
        if bytes.is_empty() {
            return Ok(());
        }
        if self.sealed.is_empty() {
            let slices = [IoSlice::new(bytes)];
            let sent = if is_last { self.inner.try_send_last(&slices) } else { self.inner.try_send(&slices) };
            bytes = &bytes[unless_blocked(sent)?..];
            self.is_writable = bytes.is_empty();
        }
        self.sealed.extend_from_slice(bytes);
        Ok(())
    }

    /// Sends what is held, as far as the socket takes it; whether that was all.
    pub(super) fn try_flush(&mut self) -> io::Result<bool> {
        if !self.sealed.is_empty() {
            self.sent += unless_blocked(self.inner.try_send(&[IoSlice::new(&self.sealed[self.sent..])]))?;
            self.is_writable = self.sent == self.sealed.len();
            if !self.is_writable {
                return Ok(false);
            }
            self.sealed = Vec::new();
            self.sent = 0;
        }
        if std::mem::take(&mut self.closes) {
            self.inner.shutdown_write();
        }
        Ok(true)
    }

    /// Encrypts the slices and sends them; how many bytes of them are on their way, or held.
    pub(super) fn send(&mut self, slices: &[IoSlice<'_>], is_last: bool) -> io::Result<usize> {
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        if self.is_closed_here {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if !self.try_flush()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.with_stage(|stream, stage| {
            let mut rest = Rest::new(slices);
            let mut taken = 0;
            while !rest.is_empty() && stream.sealed.is_empty() {
                stage.sealed.clear();
                let start = taken;
                while taken - start < BURST_BYTES && !rest.is_empty() {
                    let piece = rest.take(&mut stage.gathered, BURST_BYTES - (taken - start));
                    taken += piece.len();
                    stream.seal(Outgoing::Plaintext(piece), &mut stage.sealed)?;
                }
                let ends = is_last && rest.is_empty();
                if ends {
                    stream.seal(Outgoing::CloseNotify, &mut stage.sealed)?;
                    stream.is_closed_here = true;
                }
                stream.send_sealed(&stage.sealed, ends)?;
            }
            Ok(taken)
        })
    }

    /// Encrypts behind what is in `sealed`.
    fn seal(&mut self, outgoing: Outgoing<'_>, sealed: &mut Sealed) -> io::Result<()> {
        let mut plaintext = Plaintext { buffer: &mut [], filled: 0, rest: &mut self.plaintext };
        let (processed, outcome) = self.records.process(&mut self.received, outgoing, &mut plaintext, sealed);
        self.received.drain(..processed.used);
        outcome.map_err(|error| self.fail_by(&error))
    }

    /// Says that nothing more follows, unless that was said.
    pub(super) fn close(&mut self) {
        if self.is_closed_here || self.handshake != Handshake::Complete || self.failure.is_some() {
            return;
        }
        self.is_closed_here = true;
        // Who does not get it learns of the end by the stream below.
        let _ = self.with_stage(|stream, stage| {
            stage.sealed.clear();
            stream.seal(Outgoing::CloseNotify, &mut stage.sealed)?;
            stream.send_sealed(&stage.sealed, true)
        });
    }
}

/// How much was sent: nothing, if the attempt would block.
fn unless_blocked(sent: io::Result<usize>) -> io::Result<usize> {
    match sent {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        sent => sent,
    }
}

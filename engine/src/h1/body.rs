//! Bodies of HTTP/1 messages, received by one framing and sent by another.

use std::io;
use std::io::IoSlice;

use corelane_http1::{
    CHUNK_END, CHUNK_HEADER_BYTES_MAX, ChunkError, ChunkEvent, ChunkedDecoder, LAST_CHUNK, chunk_header,
};
use corelane_semantics::BodyFraming;

use super::outbox::Outbox;
use crate::buffers::Buffers;
use crate::io::ByteStream;
use crate::message::{BATCH_SLICES_MAX, BodyBatch};

/// Where a received body stands.
#[derive(Clone)]
pub(crate) enum BodyReader {
    /// Complete, or there is none.
    Done,
    /// So many bytes to come.
    Length(u64),
    /// Chunked; the decoder knows.
    Chunked(ChunkedDecoder),
    /// Everything until the stream ends.
    UntilClose,
}

impl BodyReader {
    pub(crate) fn new(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None | BodyFraming::Length(0) => Self::Done,
            BodyFraming::Length(length) => Self::Length(length),
            BodyFraming::Chunked => Self::Chunked(ChunkedDecoder::new()),
            BodyFraming::UntilClose => Self::UntilClose,
        }
    }

    /// How many bytes are certain to come as they are to be sent; `u64::MAX` if all that come are.
    pub(super) fn plain_left(&self) -> u64 {
        match self {
            Self::Done | Self::Chunked(_) => 0,
            Self::Length(left) => *left,
            Self::UntilClose => u64::MAX,
        }
    }

    /// Notes that so many of them came. Returns whether the body ends with them.
    pub(super) fn skip(&mut self, bytes: u64) -> bool {
        if let Self::Length(left) = self {
            *left -= bytes;
            if *left == 0 {
                *self = Self::Done;
            }
        }
        self.is_done()
    }

    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Collects the body bytes at the front of `input` in `batch`, which must be empty, until the body ends, the batch
    /// is full or the input used up. Returns how much of the input was used.
    pub(crate) fn read<'a>(
        &mut self,
        input: &'a [u8],
        batch: &mut BodyBatch<'a>,
    ) -> Result<usize, ChunkError> {
        match self {
            Self::Done => {
                batch.end = true;
                Ok(0)
            }
            Self::UntilClose => {
                batch.push(input);
                Ok(input.len())
            }
            Self::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                batch.push(&input[..taken]);
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::Done;
                    batch.end = true;
                }
                Ok(taken)
            }
            Self::Chunked(decoder) => {
                let mut rest = input;
                while batch.len() < BATCH_SLICES_MAX {
                    match decoder.decode(&mut rest)? {
                        ChunkEvent::Data(data) => batch.push(data),
                        ChunkEvent::NeedMore => break,
                        ChunkEvent::End => {
                            batch.trailers.extend_from_slice(decoder.trailers());
                            batch.end = true;
                            *self = Self::Done;
                            break;
                        }
                    }
                }
                Ok(input.len() - rest.len())
            }
        }
    }
}

/// Up to so many bytes, head and body are sent as one piece: copying them together costs less than a vectored send.
const ONE_PIECE_BYTES_MAX: u64 = 4 * 1024;

/// How a body is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyWriter {
    /// Nothing is sent (HEAD, 204, 304, or no body).
    Nothing,
    /// As it is: the length was announced, or the close ends it.
    Plain,
    /// In chunks of our own.
    Chunked,
}

impl BodyWriter {
    pub(crate) fn new(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None => Self::Nothing,
            BodyFraming::Length(_) | BodyFraming::UntilClose => Self::Plain,
            BodyFraming::Chunked => Self::Chunked,
        }
    }

    /// Sends `head` (possibly empty) and a batch of body bytes in as few calls as the socket takes. `is_last`: the end of
    /// the stream follows at once.
    pub(crate) fn send(
        self,
        head: &[u8],
        batch: &BodyBatch<'_>,
        is_last: bool,
        outbox: &mut Outbox,
        stream: &mut impl ByteStream,
        buffers: &Buffers,
    ) -> io::Result<()> {
        if let Some(pipe) = batch.pipe.take() {
            return outbox.send_pipe(stream, pipe, buffers);
        }
        if !self.adds_to(batch) {
            return if head.is_empty() {
                Ok(())
            } else {
                outbox.send(stream, &[IoSlice::new(head)], is_last, buffers)
            };
        }
        let mut header_room = [0; CHUNK_HEADER_BYTES_MAX];
        let is_one_slice = self == Self::Plain && head.is_empty() && batch.only_slice().is_some();
        if !is_one_slice && head.len() as u64 + batch.bytes <= ONE_PIECE_BYTES_MAX {
            let mut piece = buffers.take();
            piece.extend_from_slice(head);
            self.each_piece(batch, &mut header_room, |bytes| piece.extend_from_slice(bytes));
            let sent = outbox.send(stream, &[IoSlice::new(&piece)], is_last, buffers);
            buffers.give(piece);
            return sent;
        }
        if self == Self::Plain
            && let Some(only) = batch.only_slice()
        {
            let slices = [IoSlice::new(head), IoSlice::new(only)];
            return outbox.send(stream, &slices[usize::from(head.is_empty())..], is_last, buffers);
        }
        let mut slices = Slices::new();
        slices.push(head);
        self.each_piece(batch, &mut header_room, |bytes| slices.push(bytes));
        outbox.send(stream, slices.used(), is_last, buffers)
    }

    /// As [`Self::send`]; a small body is put behind the head, which is cheaper than to copy both.
    pub(crate) fn send_behind(
        self,
        head: &mut Vec<u8>,
        batch: &BodyBatch<'_>,
        is_last: bool,
        outbox: &mut Outbox,
        stream: &mut impl ByteStream,
        buffers: &Buffers,
    ) -> io::Result<()> {
        let is_sent = self.adds_to(batch) && batch.slices().next().is_some();
        if head.is_empty() || !is_sent || head.len() as u64 + batch.bytes > ONE_PIECE_BYTES_MAX {
            return self.send(head, batch, is_last, outbox, stream, buffers);
        }
        let mut header_room = [0; CHUNK_HEADER_BYTES_MAX];
        self.each_piece(batch, &mut header_room, |bytes| head.extend_from_slice(bytes));
        outbox.send(stream, &[IoSlice::new(head)], is_last, buffers)
    }

    /// Whether anything of a batch is sent.
    fn adds_to(self, batch: &BodyBatch<'_>) -> bool {
        match self {
            Self::Nothing => false,
            Self::Plain => batch.bytes > 0,
            Self::Chunked => !batch.is_empty(),
        }
    }

    /// What goes out of a batch, in order. A piece may be empty.
    #[inline]
    fn each_piece<'a>(
        self,
        batch: &'a BodyBatch<'_>,
        header_room: &'a mut [u8; CHUNK_HEADER_BYTES_MAX],
        mut take: impl FnMut(&'a [u8]),
    ) {
        match self {
            Self::Nothing => {}
            Self::Plain => batch.slices().for_each(take),
            Self::Chunked => {
                // However the chunks were cut before, a batch goes out as one.
                if batch.bytes > 0 {
                    take(chunk_header(header_room, batch.bytes));
                    batch.slices().for_each(&mut take);
                    take(CHUNK_END);
                }
                if batch.end {
                    take(LAST_CHUNK);
                    take(&batch.trailers);
                    take(CHUNK_END);
                }
            }
        }
    }
}

/// Head, chunk header, body slices, chunk end, last chunk, trailers, end.
const SLICES_MAX: usize = BATCH_SLICES_MAX + 6;

struct Slices<'a> {
    slices: [IoSlice<'a>; SLICES_MAX],
    count: usize,
}

impl<'a> Slices<'a> {
    fn new() -> Self {
        Self { slices: [IoSlice::new(&[]); SLICES_MAX], count: 0 }
    }

    fn push(&mut self, bytes: &'a [u8]) {
        if !bytes.is_empty() {
            self.slices[self.count] = IoSlice::new(bytes);
            self.count += 1;
        }
    }

    fn used(&self) -> &[IoSlice<'a>] {
        &self.slices[..self.count]
    }
}

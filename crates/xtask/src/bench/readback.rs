//! Reading everything back: how many samples are not what was sent, bit for bit.
//!
//! A sample that is missing counts as much as one that is another, and one that was never sent. What was sent is made
//! again from its seed, a piece at a time, so that neither a server's limits nor this machine's memory are met.

use anyhow::Result;

use super::running::Running;
use super::session::Load;
use crate::load::sent::{self, Piece};

/// Samples of a workload that the server does not hold as they were sent, or holds beside them.
pub(crate) fn inexact(server: &Running, load: &Load) -> Result<usize> {
    let (mut inexact, mut compared) = (0, 0);
    sent::each_piece(&load.workload, load.bodies.first_ms, |piece: &Piece| {
        inexact += sent::differences(&piece.samples, &server.read(piece)?);
        compared += piece.samples.values().map(Vec::len).sum::<usize>();
        anyhow::Ok(())
    })?;
    eprintln!("    {compared} samples read back, {inexact} inexact");
    Ok(inexact)
}

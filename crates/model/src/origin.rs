//! Which Weirs a request came through.

/// What a request's headers say of the Weirs that sent it on. Empty for whoever is not one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// How often it was sent on. At [`HOPS_MAX`] it is refused.
    pub hops: u8,
    /// Numbers of the instances that sent it on, the first one first.
    pub via: Vec<u64>,
}

/// A request that was sent on so often is going round in a circle.
pub const HOPS_MAX: u8 = 5;

impl Origin {
    /// Of whatever comes straight from its sender.
    pub const SENDER: Origin = Origin { hops: 0, via: Vec::new() };

    /// Whether it comes straight from its sender.
    pub fn is_sender(&self) -> bool {
        *self == Self::SENDER
    }
}

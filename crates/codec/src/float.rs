//! Float text.

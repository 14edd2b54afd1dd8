//! Payloads made by hand.

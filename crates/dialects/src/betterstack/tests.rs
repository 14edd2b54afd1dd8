//! What golden cases cannot say.

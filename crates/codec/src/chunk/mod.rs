//! Column codecs of the store.

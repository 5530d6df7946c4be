//! Files in volumes that Windows encrypted.

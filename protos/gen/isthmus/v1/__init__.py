"""The wire types of `isthmus.v1`, generated from protos/isthmus/v1; never edited."""

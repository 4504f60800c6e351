"""The way in and out: what arrived, from whom, under which id; and afterwards what is told of it."""

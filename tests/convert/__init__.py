"""`lighter convert`: configs of three public projects, written anew, and each rule of a conversion."""

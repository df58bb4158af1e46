"""`fintunnel compare`: is the tuned model better, at what, by how much, and how sure is that?"""

"""What the cells of `colab_launch.ipynb` call: but for the cell that fetches the code, the notebook holds no logic."""
